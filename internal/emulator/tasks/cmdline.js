const t = require('./common.js');
t.run('bash', ['--noprofile', '--norc', t.script(t.input('script'), '.sh')], t.input('workingDirectory'));

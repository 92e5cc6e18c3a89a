const t = require('./common.js');
const inline = t.input('targetType').toLowerCase() === 'inline';
const file = inline ? t.script(t.input('script'), '.sh') : t.input('filePath');
t.run('bash', [file].concat(t.input('arguments').split(/\s+/).filter(Boolean)), t.input('workingDirectory'));

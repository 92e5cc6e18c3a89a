const t = require('./common.js');
const inline = t.input('targetType').toLowerCase() === 'inline';
const file = inline ? t.script(t.input('script'), '.ps1') : t.input('filePath');
t.run('pwsh', ['-NoLogo', '-NoProfile', '-NonInteractive', '-File', file], t.input('workingDirectory'));

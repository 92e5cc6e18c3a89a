const fs = require('fs');
const path = require('path');
const tl = require('azure-pipelines-task-lib/task');

const from = tl.getPathInput('SourceFolder', true, true);
const to = tl.getInput('TargetFolder', true);
for (const file of tl.findMatch(from, tl.getDelimitedInput('Contents', '\n', true))) {
  if (fs.statSync(file).isFile()) {
    const target = path.join(to, path.relative(from, file));
    tl.mkdirP(path.dirname(target));
    tl.cp(file, target);
    console.log('the package copied ' + path.relative(from, file));
  }
}

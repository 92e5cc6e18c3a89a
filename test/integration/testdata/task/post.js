const tl = require('azure-pipelines-task-lib/task');
console.log('note: ' + tl.getTaskVariable('note') + ', started: ' + tl.getTaskVariable('started'));
console.log('whisper has ' + tl.getTaskVariable('whisper').length + ' letters');
tl.setResult(tl.TaskResult.Succeeded, 'tidied up');

const tl = require('azure-pipelines-task-lib/task');
tl.setTaskVariable('started', 'before ' + tl.getInput('who', true));
tl.setResult(tl.TaskResult.Succeeded, 'prepared');

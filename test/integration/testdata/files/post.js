const tl = require('azure-pipelines-task-lib/task');
console.log('the job is ' + tl.getVariable('Agent.JobStatus'));

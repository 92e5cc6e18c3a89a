const path = require('path');
const tl = require('azure-pipelines-task-lib/task');

async function tour() {
  tl.setResourcePath(path.join(__dirname, 'task.json'));
  console.log(tl.loc('Greeting', tl.getInput('who', true)));
  const connection = tl.getInput('connection', true);
  const file = tl.getInput('key', true);
  // The log hides secrets; what is compared is written down instead.
  tl.writeFile(tl.getInput('report', true), JSON.stringify({
    loud: tl.getBoolInput('loud'), list: tl.getDelimitedInput('list', '\n'), file: tl.getPathInput('file'),
    filePathSupplied: tl.filePathSupplied('file'), missing: tl.getInput('nothing') || null,
    url: tl.getEndpointUrl(connection, false), scheme: tl.getEndpointAuthorizationScheme(connection, false),
    authorization: tl.getEndpointAuthorization(connection, false),
    parameter: tl.getEndpointAuthorizationParameter(connection, 'apitoken', false),
    data: tl.getEndpointDataParameter(connection, 'region', false),
    token: tl.getEndpointAuthorizationParameter('SYSTEMVSSCONNECTION', 'AccessToken', false),
    ticket: tl.getSecureFileTicket(file), fileName: tl.getSecureFileName(file),
    plain: tl.getVariable('plain.value'), hidden: tl.getVariable('hidden.value'), status: tl.getVariable('agent.jobstatus'),
    info: tl.getVariables().filter((v) => v.name === 'hidden.value'), agent: tl.getAgentMode(), platform: tl.getPlatform(),
    started: tl.getTaskVariable('started'), leaked: Object.keys(process.env).filter((n) => /^(INPUT_|SECRET_|ENDPOINT_AUTH_)/.test(n)),
  }));
  const code = await tl.tool(tl.which('sh', true)).arg('-c').arg('echo said by a tool; echo $PLAIN_VALUE').execAsync();
  console.log('the tool ended with ' + code);
  tl.setVariable('later', 'one line; with %25 and ] signs');
  tl.setVariable('hush', 's3cret-of-the-task', true, true);
  tl.setVariable('open', 'output-of-the-task', false, true);
  tl.setVariable('declared', 'declared-of-the-task');
  tl.setTaskVariable('note', 'kept for later');
  tl.setTaskVariable('whisper', 'wh1sper-of-the-task', true);
  tl.prependPath('/opt/of-the-task');
  tl.warning('something to look at');
  tl.debug('not shown');
  console.log('hidden: s3cret-of-the-task and wh1sper-of-the-task');
  tl.setResult(tl.TaskResult.SucceededWithIssues, 'nearly well');
}

tour().catch((err) => tl.setResult(tl.TaskResult.Failed, String(err && err.stack)));

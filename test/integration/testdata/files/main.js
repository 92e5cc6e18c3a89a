const fs = require('fs');
const path = require('path');
const tl = require('azure-pipelines-task-lib/task');

// refused returns what a call that must not work complains of.
function refused(call) {
  try {
    return 'returned ' + call();
  } catch (err) {
    return err.message;
  }
}

async function files() {
  const temp = tl.getVariable('Agent.TempDirectory');
  const root = path.join(temp, 'tree');
  for (const name of ['a.txt', 'b.md', 'sub/c.txt', 'sub/deep/d.txt', '.hidden.txt']) {
    tl.mkdirP(path.dirname(path.join(root, name)));
    fs.writeFileSync(path.join(root, name), name);
  }
  const found = tl.findMatch(root, ['**/*.txt', '!sub/deep/**']).map((f) => path.relative(root, f));
  const copy = path.join(temp, 'copy');
  tl.rmRF(copy); // that of an earlier step
  tl.mkdirP(copy);
  tl.cp(path.join(root, 'sub'), copy, '-r');
  tl.mv(path.join(copy, 'sub', 'c.txt'), path.join(copy, 'moved.txt'));
  const copied = tl.find(copy).map((f) => path.relative(copy, f)).filter((f) => f).sort();
  tl.rmRF(path.join(copy, 'sub'));
  const left = tl.ls('-A', [copy]);
  tl.pushd(root);
  const inside = tl.cwd() === fs.realpathSync(root);
  tl.popd();

  const tool = tl.tool(tl.which('sh', true)).line('-c "echo out; echo err >&2; exit 3"');
  const code = await tool.execAsync({ ignoreReturnCode: true });
  const failed = await tl.tool('sh').arg('-c').arg('exit 4').execAsync().then(() => 'succeeded', (err) => err.message);
  const quiet = tl.tool('sh').arg('-c').arg('printf one; printf two >&2').execSync({ silent: true });

  const summary = path.join(temp, 'summary.md');
  fs.writeFileSync(summary, '# Summary of the task\n');
  tl.uploadSummary(summary);
  tl.addAttachment('Some.Type', 'some.name', summary);
  tl.setProgress(40, 'in the middle');
  tl.error('an error that says where it comes from', tl.IssueSource.TaskInternal);

  fs.writeFileSync(tl.getInput('report', true), JSON.stringify({
    found, copied, left, inside, code, failed, sync: { code: quiet.code, out: quiet.stdout, err: quiet.stderr },
    folder: tl.getPathInput('folder') || null, supplied: tl.filePathSupplied('folder'),
    missing: {
      tool: refused(() => tl.which('no-such-tool-anywhere', true)),
      path: refused(() => tl.checkPath('/no/such/path', 'input')),
      connection: refused(() => tl.getEndpointUrl(tl.getInput('connection') || 'none', false)),
      file: tl.getSecureFileTicket('f2') || null, fileName: tl.getSecureFileName('f2') || null,
      input: refused(() => tl.getInput('nothing', true)),
    },
    proxy: tl.getHttpProxyConfiguration('https://elsewhere.example/'), direct: tl.getHttpProxyConfiguration('https://git.internal.example:8443/x'),
    certificate: tl.getHttpCertConfiguration(), correlation: process.env.COMMAND_CORRELATION_ID || null,
    tools: fs.existsSync(tl.getVariable('Agent.ToolsDirectory')), version: tl.getVariable('Agent.Version'),
  }));
  if (tl.getBoolInput('fail')) {
    throw new Error('as it was told');
  }
  tl.setResult(tl.TaskResult.Succeeded, 'all there');
}

files().catch((err) => tl.setResult(tl.TaskResult.Failed, err.message));

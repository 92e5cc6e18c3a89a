const fs = require('fs');
const path = require('path');
const tl = require('azure-pipelines-task-lib/task');
const tools = require('azure-pipelines-tool-lib/tool');

// acquire brings a version into the cache of tools and returns where it lies there.
async function acquire(site, version) {
  const archive = await tools.downloadTool(`${site}/owntool-${version}.tar.gz`);
  const extracted = await tools.extractTar(archive);
  const folder = await tools.cacheDir(path.join(extracted, `owntool-${version}`), 'owntool', version);
  return { folder, archive, extracted };
}

async function install() {
  const site = tl.getInput('site', true);
  const wanted = tl.getInput('version', true);
  let found = { folder: tools.findLocalTool('owntool', wanted) };
  const cached = Boolean(found.folder);
  if (!cached) {
    const version = tools.evaluateVersions(await tools.scrape(site + '/', /\d+\.\d+\.\d+/g), wanted);
    if (!version) {
      throw new Error(`owntool has no version ${wanted}`);
    }
    found = await acquire(site, version);
  }
  tools.prependPath(path.join(found.folder, 'bin'));
  tl.setVariable('owntool.root', found.folder);
  tl.setVariable('folder', found.folder);
  let missing;
  try {
    tl.getInput('nothing', true);
  } catch (err) {
    missing = err.message;
  }
  fs.writeFileSync(tl.getInput('report', true), JSON.stringify({
    cached, found, missing, culture: tl.getVariable('System.Culture'), temp: tl.getVariable('Agent.TempDirectory'),
    tools: tl.getVariable('Agent.ToolsDirectory'), inherited: process.env.AGENT_TOOLSDIRECTORY,
  }));
}

install().catch((err) => tl.setResult(tl.TaskResult.Failed, err.message));

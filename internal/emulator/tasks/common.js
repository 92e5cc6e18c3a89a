// Shared by the emulator's task zips: just enough of a task for a Node handler,
// without the task library.
const { spawnSync } = require('child_process');
const fs = require('fs');
const path = require('path');

const input = (name) => process.env['INPUT_' + name.replace(/[ .]/g, '_').toUpperCase()] || '';
const escape = (text) => text.replace(/%/g, '%AZP25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');

function complete(result, text) {
  console.log('##vso[task.complete result=' + result + ';]' + escape(text || ''));
}

// run starts a program with the step's environment and reports its exit code as
// the step's result.
function run(program, args, cwd) {
  const done = spawnSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'], cwd: cwd || undefined });
  if (done.error) return complete('Failed', String(done.error.message));
  if (done.signal) return complete('Failed', program + ' was ended by ' + done.signal);
  if (done.status !== 0) return complete('Failed', program + ' exited with code ' + done.status);
  complete('Succeeded');
}

// script writes text to the agent's temporary directory and returns its path.
function script(text, extension) {
  const dir = process.env.AGENT_TEMPDIRECTORY || require('os').tmpdir();
  const file = path.join(dir, require('crypto').randomUUID() + extension);
  fs.writeFileSync(file, text, { mode: 0o700 });
  return file;
}

module.exports = { input, complete, run, script };

// Prints what the agent gave the task, one JSON object per line.
const t = require('./common.js');
for (const name of Object.keys(process.env).sort()) {
  console.log(JSON.stringify({ name, value: process.env[name] }));
}
console.log(JSON.stringify({ cwd: process.cwd(), argv: process.argv.slice(1) }));
t.complete('Succeeded', 'environment printed');

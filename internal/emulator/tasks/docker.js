const t = require('./common.js');
const image = t.input('repository');
const tags = t.input('tags').split(/[\n,]/).map((x) => x.trim()).filter(Boolean).map((x) => image + ':' + x);
const build = ['build', '-f', t.input('Dockerfile')].concat(tags.flatMap((x) => ['-t', x]), [t.input('buildContext') || '.']);
const commands = {
  build: [build],
  push: tags.map((x) => ['push', x]),
  buildAndPush: [build].concat(tags.map((x) => ['push', x])),
};
const plan = commands[t.input('command')];
if (!plan) {
  t.complete('Failed', 'the emulated task does not know the command ' + t.input('command'));
} else {
  // One shell, so that the first failure ends the step.
  const quote = (x) => "'" + x.replace(/'/g, "'\\''") + "'";
  const text = ['set -e'].concat(plan.map((args) => 'docker ' + args.map(quote).join(' '))).join('\n');
  t.run('bash', [t.script(text, '.sh')]);
}

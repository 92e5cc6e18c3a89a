// Answers questions about patterns with the task library itself: reads them as
// JSON from standard input and writes them with the answers into a file, for the
// library prints what it does. NODE_PATH has the library; the arguments are the
// folder of the tree that find looks into, and the file.
const tl = require('azure-pipelines-task-lib/task')
const fs = require('fs')

const root = process.argv[2]
const questions = JSON.parse(fs.readFileSync(0, 'utf8'))
const standard = { nobrace: true, dot: true }
const links = { allowBrokenSymbolicLinks: true, followSpecifiedSymbolicLink: true, followSymbolicLinks: true }

for (const q of questions.match) {
  const options = { ...standard, matchBase: !!q.base, dot: !q.noDots, nobrace: !q.braces }
  const chosen = tl.match(questions.names, q.patterns, q.root || undefined, options)
  q.want = chosen.map((name) => questions.names.indexOf(name))
}
for (const q of questions.find) {
  const options = { ...standard, matchBase: !!q.base, dot: !q.noDots }
  const patterns = q.patterns.map((p) => p.replaceAll('$ROOT', root))
  q.want = tl.findMatch(root, patterns, links, options).map((path) => path.replace(root, '$ROOT'))
}
fs.writeFileSync(process.argv[3], JSON.stringify(questions))

// Package buildkitconf knows how to write a buildkitd.toml that never fills its
// volume, and how to find what is wrong with one that somebody else wrote.
//
// It talks to nobody. [Generate] turns the size of a volume into the text of a
// configuration with a reason beside every number; [Lint] reads any
// configuration and returns [Finding]s with their lines; [LintRunning] applies
// the same rules to what a running buildkitd says about its worker.
//
// How BuildKit collects its cache decides the numbers. It looks after each build,
// at most once a minute, and never during one. A tier of its policy compares its
// limits with the size of all records, not with that of the records it may
// remove. Limits count records: databases, logs of builds, the running steps and
// the file system itself come on top. (cache/manager.go and control/control.go of
// github.com/moby/buildkit v0.34.2.)
package buildkitconf

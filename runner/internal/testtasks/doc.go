// Package testtasks knows the tasks PublishTestResults and
// PublishCodeCoverageResults, and how results and coverage are published.
//
// As with the originals, a task finds files and says so by a logging command; the
// command, which scripts use as well, does the rest beside the step: [Publication]
// for results.publish and [CoveragePublication] for codecoverage.publish. Without
// a server they read the files, say what is in them, and keep nothing.
package testtasks

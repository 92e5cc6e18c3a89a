package runner

import "github.com/dockless-ci/dockless/runner/internal/gitsource"

// OldestNode is the first major version of Node.js that runs downloaded tasks.
const OldestNode = oldestNode

// OldestGit returns the first two numbers of the first git that can check out.
func OldestGit() (major, minor int) { return gitsource.Oldest() }

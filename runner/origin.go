package runner

import (
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// said returns a variable as the server sent it, which no step can change.
func (x *execution) said(name string) string {
	v, _ := job.Lookup(x.m.Variables, name)
	return v.Value
}

// origin is where the sources of the job come from, in the server's words: what a
// job may read and write of others' caches depends on it.
type origin struct {
	branch   string
	target   string // of a pull request
	standard string // the default branch of the repository
	fork     string // names the fork that a pull request comes from; empty: none
}

func (x *execution) origin() origin {
	o := origin{branch: x.said("build.sourceBranch"), target: x.said("system.pullRequest.targetBranch")}
	if self, ok := x.m.Repository("self"); ok {
		o.standard = self.Text("defaultBranch")
	}
	if vars.Truth(x.said("system.pullRequest.isFork"), false) || vars.Truth(x.said("build.isFork"), false) {
		if o.fork = x.said("system.pullRequest.sourceRepositoryUri"); o.fork == "" {
			o.fork = "fork"
		}
	}
	return o
}

package runner

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/taskdef"
)

// task is what a step runs: a built-in, or a package that was downloaded.
type task struct {
	name         string // as in CmdLine@2; of a built-in
	title        string
	description  string
	author, help string                                      // empty: ours
	before       func(ctx context.Context, a *attempt) error // pre-job part; nil: none
	run          func(ctx context.Context, a *attempt) error // nil: a package that has only the other parts
	after        func(ctx context.Context, a *attempt) error // post-job part; nil: none
	working      bool                                        // the post-job part does work of the job's and is no clean-up: it takes its time, and ends with the job
	onlyHere     bool                                        // no package can run instead, so it is built in always
	connections  []string                                    // inputs that name service connections or secure files
	definition   *taskdef.Definition                         // of a package; nil for a built-in
}

// taskFor finds what runs a step: a built-in, or its package.
func (x *execution) taskFor(step job.Step) (task, error) {
	r := step.Reference
	if t, ok := x.builtin(r); ok {
		return t, nil
	}
	if p, ok := x.packages[packageKey(r)]; ok {
		return x.downloaded(step, p)
	}
	err := fmt.Errorf("step %q needs task %s, which this agent cannot run: there is no server to download it from", step.DisplayName, describe(r))
	if x.cfg.NativeTasks == "off" {
		err = hint.With(err, "set DOCKLESS_NATIVE_TASKS to on")
	}
	return task{}, hint.With(err, "run the job by an agent, or replace %s by a script step; built in are %s", r.Name, builtinNames())
}

// describe names a task for messages.
func describe(r job.TaskReference) string {
	return fmt.Sprintf("%s@%s (%s, version %s)", r.Name, r.Major(), r.ID, r.Version)
}

// connection returns the input by which a step names a service connection or a
// secure file, or "". It finds one under every name that reaches the task, and
// whatever its macros stand for: a variable may change until the task is run.
func (t task) connection(given map[string]string) string {
	said := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		meant := strings.TrimSpace(name)
		if t.definition != nil {
			if in, ok := t.definition.Lookup(meant); ok {
				meant = in.Name
			}
		}
		for _, c := range t.connections {
			if strings.EqualFold(c, meant) {
				said[c] = true
				if strings.TrimSpace(given[name]) != "" {
					return c
				}
			}
		}
	}
	if t.definition == nil {
		return ""
	}
	for _, in := range t.definition.Inputs {
		if slices.Contains(t.connections, in.Name) && !said[in.Name] && strings.TrimSpace(in.Default) != "" {
			return in.Name
		}
	}
	return ""
}

// header opens the log of a step: seven lines (protocol §8.10).
func (t task) header(r job.TaskReference) []string {
	ruler := strings.Repeat("=", 78)
	author, help := cmp.Or(t.author, "dockless"), cmp.Or(t.help, "https://learn.microsoft.com/azure/devops/pipelines/tasks/")
	return []string{
		ruler,
		"Task         : " + t.title,
		"Description  : " + t.description,
		"Version      : " + r.Version,
		"Author       : " + author,
		"Help         : " + help,
		ruler,
	}
}

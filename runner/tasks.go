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
	title        string
	description  string
	author, help string                                      // empty: ours
	before       func(ctx context.Context, a *attempt) error // pre-job part; nil: none
	run          func(ctx context.Context, a *attempt) error // nil: a package that has only the other parts
	after        func(ctx context.Context, a *attempt) error // post-job part; nil: none
	connections  []string                                    // inputs that name service connections or secure files
	definition   *taskdef.Definition                         // of a package; nil for a built-in
}

// Tasks are known by id and major version: different tasks of different majors
// share an id, as Bash@3 does with an older one.
const checkoutID = "6d15af64-176c-496d-b583-fd2ae21d4df4"

func builtins() map[string]task {
	return map[string]task{
		checkoutID + "@1": {
			title: "Get sources", description: "Get sources from a repository with git.",
			run: runCheckout, after: forgetCredentials,
		},
		"d9bafed4-0b18-4f58-968d-86655b4d2ce9@2": {
			title: "Command line", description: "Run a command line script using Bash.", run: runCommandLine,
		},
		"6c731c3c-3c68-459a-a5c9-bde6e6595b5b@3": {
			title: "Bash", description: "Run a Bash script.", run: runBash,
		},
		"e28912f1-0114-4464-802a-a3a35437fd16@2": {
			title: "Docker", description: "Build and push images with BuildKit, log in to and out of a registry.", run: runDocker,
			connections: []string{"containerRegistry"},
		},
	}
}

// builtin returns the built-in that runs r. A checkout is one always: the server
// has no package for it.
func (x *execution) builtin(r job.TaskReference) (task, bool) {
	if x.cfg.NativeTasks == "off" && !strings.EqualFold(r.ID, checkoutID) {
		return task{}, false
	}
	t, ok := builtins()[strings.ToLower(r.ID)+"@"+r.Major()]
	return t, ok
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
	return task{}, hint.With(err, "run the job by an agent, or replace %s by a script step; built in are %s", r.Name, builtinNames)
}

// builtinNames lists the built-ins for hints.
const builtinNames = "checkout, CmdLine@2, Bash@3 and Docker@2"

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

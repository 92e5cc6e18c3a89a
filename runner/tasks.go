package runner

import (
	"context"
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// task is a built-in: something a step can run without anything downloaded.
type task struct {
	title       string
	description string
	run         func(ctx context.Context, a *attempt) error
	after       func(ctx context.Context, a *attempt) error // post-job part; nil: none
	connections []string                                    // inputs that name service connections
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

// taskFor finds the built-in that runs a step.
func (x *execution) taskFor(step job.Step) (task, error) {
	r := step.Reference
	name := fmt.Sprintf("%s@%s", r.Name, r.Major())
	t, ok := builtins()[strings.ToLower(r.ID)+"@"+r.Major()]
	if !ok {
		return task{}, hint.With(fmt.Errorf("step %q needs task %s (%s, version %s), which this agent cannot run", step.DisplayName, name, r.ID, r.Version),
			"send the job to an agent that runs downloaded tasks, or replace %s by a script step; built in are checkout, CmdLine@2, Bash@3 and Docker@2", name)
	}
	if x.cfg.NativeTasks == "off" && !strings.EqualFold(r.ID, checkoutID) {
		return task{}, hint.With(fmt.Errorf("step %q needs task %s, whose built-in version is turned off, and this agent cannot run downloaded tasks", step.DisplayName, name),
			"set DOCKLESS_NATIVE_TASKS to on")
	}
	return t, nil
}

// header opens the log of a step: seven lines (protocol §8.10).
func (t task) header(r job.TaskReference) []string {
	ruler := strings.Repeat("=", 78)
	return []string{
		ruler,
		"Task         : " + t.title,
		"Description  : " + t.description,
		"Version      : " + r.Version,
		"Author       : dockless",
		"Help         : https://learn.microsoft.com/azure/devops/pipelines/tasks/",
		ruler,
	}
}

package runner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// onHost is the target that names no container.
const onHost = "host"

// targetOf returns the alias of the container that a step runs in; empty is the
// host. A target that the job does not know is where the job runs (language §1.8).
func (x *execution) targetOf(step job.Step) string {
	if t := step.Target; t != nil && t.Target != "" {
		if strings.EqualFold(t.Target, onHost) {
			return ""
		}
		if c, ok := x.m.Container(t.Target); ok {
			return c.Alias
		}
	}
	if c, ok := x.m.Container(x.m.JobContainer); ok {
		return c.Alias
	}
	return x.m.JobContainer
}

// targets returns the aliases of the containers that steps run in, the job's first.
func (x *execution) targets() []string {
	var all []string
	if x.m.JobContainer != "" {
		all = append(all, x.targetOf(job.Step{}))
	}
	for _, s := range x.enabledSteps() {
		if alias := x.targetOf(s); alias != "" && !slices.Contains(all, alias) {
			all = append(all, alias)
		}
	}
	return all
}

// insideTasks are the built-ins whose work is a program of the pipeline's own. They
// run where the step's target is. All others work on files and with servers; they
// run on the host, on the same files.
var insideTasks = []string{
	"d9bafed4-0b18-4f58-968d-86655b4d2ce9", // CmdLine
	"6c731c3c-3c68-459a-a5c9-bde6e6595b5b", // Bash
	"e213ff0f-5d5c-4791-802d-52ea3e7be1f1", // PowerShell
}

// goesInside reports whether e runs in the target of its step.
func (e *entry) goesInside() bool {
	return e.task.definition != nil || slices.Contains(insideTasks, strings.ToLower(e.step.Reference.ID))
}

// where returns the container that e runs in; nil is the host.
func (x *execution) where(e *entry) (*container, error) {
	alias := x.targetOf(e.step)
	if alias == "" || !e.goesInside() {
		return nil, nil //nolint:nilnil // nil is the host
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.containers[alias]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s, in which the step runs, was not started", alias)
}

// insideVariables are those that say something else in a container than on the host:
// where the services are, and directories of which it has only what lies in them. The
// paths of all others are translated as they are used.
func (x *execution) insideVariables() []vars.Variable {
	list := []vars.Variable{
		{Name: "agent.workFolder", Value: insideWork},
		{Name: "agent.rootDirectory", Value: insideWork},
		{Name: "system.workFolder", Value: insideWork},
		{Name: "agent.homeDirectory", Value: insideHome},
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for name, value := range x.inner {
		list = append(list, vars.Variable{Name: name, Value: value})
	}
	return list
}

// place puts the attempt where its step runs: it chooses the environment, and
// writes the paths in its inputs as they are there.
func (a *attempt) place() (err error) {
	x := a.x
	if a.where, err = x.where(a.entry); err != nil {
		return err
	}
	a.in = x.expandInputs(a.step)
	translate := a.inside
	if !a.goesInside() && len(x.sees) > 0 {
		// A step in a container may have put a path of its own into a variable.
		translate = x.sees.Outside
	}
	for name, value := range a.in {
		a.in[name] = translate(value)
	}
	a.env = x.stepEnvironment(a.ctx, a.where, a.step.Environment)
	return nil
}

package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/conceal"
)

// initialize prepares the job in a record of its own and lists what is to be
// run. It reports false when the job cannot run at all; the record then says
// why.
func (x *execution) initialize(ctx context.Context, problems []string) bool {
	n := x.child(job.NewRecordID(), "Initialize job", "JobExtension_Init")
	n.start()
	n.print("##[section]Starting: Initialize job")
	for _, p := range problems {
		n.warning(p)
	}
	err := x.prepare(n)
	result := job.Succeeded
	switch {
	case ctx.Err() != nil:
		result = job.Canceled
		n.error(fmt.Errorf("the job ended before its first step: %w", context.Cause(ctx)))
	case err != nil:
		result = job.Failed
		for _, e := range flatten(err) {
			n.error(e)
		}
		x.merge(job.Failed)
	}
	n.print("##[section]Finishing: Initialize job")
	n.complete(result, "")
	if result == job.Succeeded {
		for _, e := range x.entries {
			e.node.pending()
		}
	}
	return result == job.Succeeded
}

// prepare makes directories and variables, checks all steps before the first
// one runs, and lists the entries of the job.
func (x *execution) prepare(n *node) error {
	n.print(fmt.Sprintf("Agent name: %s", x.cfg.AgentName))
	n.print(fmt.Sprintf("Agent machine name: %s", x.cfg.MachineName))
	n.print(fmt.Sprintf("Agent version: %s", x.cfg.AgentVersion))
	var err error
	if x.veil, err = conceal.New(x.cfg.Hidden); err != nil {
		return err // a job that could read them must not run
	}
	n.print("Preparing the work folder.")
	if err := x.prepareFolders(); err != nil {
		return err
	}
	n.print("Setting the variables of the job.")
	x.fillVariables()
	for _, err := range x.vars.Recompute() {
		n.warning(err.Error())
	}
	n.print("Checking the tasks of all steps.")
	if err := x.list(); err != nil {
		return err
	}
	n.print("Work folder: " + x.folders.work)
	n.print("Pipeline workspace: " + x.folders.pipeline)
	return nil
}

// list makes the entries of the job in the order in which they run, and
// reports everything that is wrong with its steps.
func (x *execution) list() error {
	var problems []error
	var entries, after []*entry
	if x.hasContainers() {
		start := x.agentEntry("Initialize containers", (*execution).startServices)
		// What cannot work at all fails before the sources are fetched for nothing.
		start.beside = x.m.JobContainer == "" && x.cfg.Podman != nil
		entries = append(entries, start)
	}
	for _, step := range x.m.Steps {
		if step.Enabled != nil && !*step.Enabled {
			continue
		}
		e, err := x.stepEntry(step)
		problems = append(problems, err)
		if err == nil {
			entries = append(entries, e)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	for _, e := range slices.Backward(entries) {
		if e.task.after != nil {
			after = append(after, x.afterEntry(e))
		}
	}
	entries = append(entries, after...)
	if x.hasContainers() {
		stop := x.agentEntry("Stop Containers", (*execution).stopServices)
		stop.condition, stop.always = "always()", true
		entries = append(entries, stop)
	}
	x.entries = entries
	return nil
}

// stepEntry makes the entry of a step of the message.
func (x *execution) stepEntry(step job.Step) (*entry, error) {
	t, err := x.taskFor(step)
	if _, cerr := expr.ParseStepCondition(step.Condition); cerr != nil {
		err = errors.Join(err, fmt.Errorf("reading the condition of step %q: %w", step.DisplayName, cerr))
	}
	if target := step.Target; target != nil && target.Target != "" && !strings.EqualFold(target.Target, "host") {
		err = errors.Join(err, fmt.Errorf("step %q asks to run in container %s; this agent runs steps on its host only", step.DisplayName, target.Target))
	}
	if err != nil {
		return nil, err
	}
	name := x.expand(step.DisplayName)
	if name == "" {
		name = step.Name
	}
	return &entry{
		node: x.child(step.ID, name, step.Name), step: step, task: t, name: name,
		condition: step.Condition, run: t.run, header: true,
		settings: make(map[string]string),
	}, nil
}

// afterEntry makes the entry of the post-job part of e.
func (x *execution) afterEntry(e *entry) *entry {
	name := "Post-job: " + e.name
	return &entry{
		node: x.child(job.NewRecordID(), name, e.step.Name), step: e.step, task: e.task, name: name,
		condition: "always()", run: e.task.after, header: true, post: true, always: true, settings: e.settings,
	}
}

// agentEntry makes an entry of the agent's own.
func (x *execution) agentEntry(name string, run func(*execution, context.Context, *attempt) error) *entry {
	id := job.NewRecordID()
	return &entry{
		node: x.child(id, name, strings.ReplaceAll(string(id), "-", "")), name: name,
		run: func(ctx context.Context, a *attempt) error { return run(x, ctx, a) },
	}
}

// flatten returns the errors that were joined into err.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

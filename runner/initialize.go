package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
)

// initialize prepares the job in a record of its own and lists what is to be
// run. It reports false when the job cannot run at all; the record then says
// why.
func (x *execution) initialize(ctx context.Context, problems []string) bool {
	n := x.child(job.NewRecordID(), "Initialize job", "JobExtension_Init")
	n.start()
	ctx, s := startSpan(ctx, "Initialize job")
	n.print("##[section]Starting: Initialize job")
	for _, p := range problems {
		n.warning(p)
	}
	err := x.prepare(ctx, n)
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
	endSpan(s, n, result)
	n.complete(result, "")
	if result == job.Succeeded {
		for _, e := range x.entries {
			e.node.pending()
		}
	}
	return result == job.Succeeded
}

// list makes the entries of the job in the order in which they run, and
// reports everything that is wrong with its steps. Records are numbered as they
// are made, so they are made in that order too.
func (x *execution) list() error {
	steps, err := x.checkSteps()
	if err != nil {
		return err
	}
	var entries []*entry
	if x.m.NeedsContainers() {
		start := x.agentEntry("Initialize containers", (*execution).startContainers)
		// What cannot work at all fails before the sources are fetched for nothing.
		start.beside = x.cfg.Podman != nil
		entries = append(entries, start)
	}
	for _, s := range steps {
		if s.task.before != nil {
			entries = append(entries, x.beforeEntry(s))
		}
	}
	for _, s := range steps {
		if s.task.run != nil {
			entries = append(entries, x.stepEntry(s))
		}
	}
	for _, s := range slices.Backward(steps) {
		if s.task.after != nil {
			entries = append(entries, x.afterEntry(s))
		}
	}
	if x.m.NeedsContainers() {
		stop := x.agentEntry("Stop Containers", (*execution).stopContainers)
		stop.condition, stop.always = "always()", true
		entries = append(entries, stop)
	}
	x.entries = entries
	return nil
}

// checkedStep is a step of the message that can be run.
type checkedStep struct {
	step     job.Step
	task     task
	name     string            // for people
	settings map[string]string // task variables
}

// enabledSteps are the steps of the message that are not turned off.
func (x *execution) enabledSteps() []job.Step {
	return slices.DeleteFunc(slices.Clone(x.m.Steps), func(s job.Step) bool { return s.Enabled != nil && !*s.Enabled })
}

func (x *execution) checkSteps() ([]checkedStep, error) {
	var steps []checkedStep
	var problems []error
	for _, step := range x.enabledSteps() {
		s, err := x.checkStep(step)
		problems = append(problems, err)
		steps = append(steps, s)
	}
	return steps, errors.Join(problems...)
}

func (x *execution) checkStep(step job.Step) (checkedStep, error) {
	t, err := x.taskFor(step)
	if _, cerr := expr.ParseStepCondition(step.Condition); cerr != nil {
		err = errors.Join(err, fmt.Errorf("reading the condition of step %q: %w", step.DisplayName, cerr))
	}
	name := x.expand(step.DisplayName)
	if name == "" {
		name = step.Name
	}
	return checkedStep{step: step, task: t, name: name, settings: make(map[string]string)}, err
}

// stepEntry makes the entry of a step of the message.
func (x *execution) stepEntry(s checkedStep) *entry {
	return &entry{
		node: x.child(s.step.ID, s.name, s.step.Name), step: s.step, task: s.task, name: s.name,
		condition: s.step.Condition, run: s.task.run, header: true, settings: s.settings,
	}
}

// beforeEntry makes the entry of the pre-job part of a step. It runs under the
// step's own condition.
func (x *execution) beforeEntry(s checkedStep) *entry {
	name := "Pre-job: " + s.name
	return &entry{
		node: x.child(job.NewRecordID(), name, s.step.Name), step: s.step, task: s.task, name: name,
		condition: s.step.Condition, run: s.task.before, header: true, settings: s.settings,
	}
}

// afterEntry makes the entry of the post-job part of a step.
func (x *execution) afterEntry(s checkedStep) *entry {
	name := "Post-job: " + s.name
	return &entry{
		node: x.child(job.NewRecordID(), name, s.step.Name), step: s.step, task: s.task, name: name,
		condition: "always()", run: s.task.after, header: true, post: true, always: s.task.definition == nil && !s.task.working, settings: s.settings,
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

package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dockless-ci/dockless/runner/internal/conceal"
)

// How long the parts of a job's preparation may take.
const (
	// briefly is for what takes milliseconds, and seconds on a disk or with a Podman
	// that has much else to do.
	briefly = 2 * time.Minute
	// cleaning is for millions of files on a disk across a network.
	cleaning = time.Hour
	// fetching is more than what one package may take, so that its store names the cause.
	fetching = 25 * time.Minute
)

// within runs a part of the job's preparation, which is watched as a step is: its context
// ends when its time is over, and whoever goes on then is stuck. An error that comes of
// that names what took too long.
func (x *execution) within(ctx context.Context, most time.Duration, what string, do func(context.Context) error) error {
	late := fmt.Errorf("%s took longer than %s", what, most)
	part, cancel := context.WithTimeoutCause(ctx, most, late)
	defer cancel()
	defer x.watch(part, what)()
	err := do(part)
	if err != nil && errors.Is(context.Cause(part), late) && !errors.Is(err, late) {
		return &lateError{late: late, err: err}
	}
	return err
}

// lateError is what a part of the preparation ended with after its time was over: one
// error, of which two would tell half each.
type lateError struct{ late, err error }

func (e *lateError) Error() string        { return e.late.Error() + ": " + e.err.Error() }
func (e *lateError) Unwrap() error        { return e.err }
func (e *lateError) Is(target error) bool { return target == e.late }

// prepare makes directories and variables, fetches tasks, checks all steps
// before the first one runs, and lists the entries of the job.
func (x *execution) prepare(ctx context.Context, n *node) error {
	n.print(fmt.Sprintf("Agent name: %s", x.cfg.AgentName))
	n.print(fmt.Sprintf("Agent machine name: %s", x.cfg.MachineName))
	n.print(fmt.Sprintf("Agent version: %s", x.cfg.AgentVersion))
	for _, part := range []struct {
		most time.Duration
		what string
		do   func(context.Context, *node) error
	}{
		{briefly, "hiding the agent's files from the job", x.hide},
		{briefly, "finding the work folder", x.findFolders},
		{cleaning, "cleaning the work folder", x.cleanFolders},
		{briefly, "opening the job's Docker API", x.openDocker},
		{briefly, "setting the variables of the job", x.setVariables},
		{briefly, "asking Podman for its users", x.matchUsers},
	} {
		if err := x.within(ctx, part.most, part.what, func(ctx context.Context) error { return part.do(ctx, n) }); err != nil {
			return err
		}
	}
	if err := x.fetchTasks(ctx, n); err != nil {
		return err
	}
	n.print("Checking the tasks of all steps.")
	if err := x.within(ctx, briefly, "checking the tasks of all steps", func(context.Context) error { return x.list() }); err != nil {
		return err
	}
	n.print("Work folder: " + x.folders.work)
	n.print("Pipeline workspace: " + x.folders.pipeline)
	return nil
}

// hide draws the veil over what no process of the job may read. A job that could must
// not run.
func (x *execution) hide(ctx context.Context, _ *node) (err error) {
	if x.veil, err = conceal.New(x.cfg.Hidden); err != nil {
		return err
	}
	x.openGroups(ctx)
	return nil
}

func (x *execution) setVariables(_ context.Context, n *node) error {
	n.print("Setting the variables of the job.")
	x.fillVariables()
	for _, err := range x.vars.Recompute() {
		n.warning(err.Error())
	}
	if len(x.targets()) > 0 {
		x.sees = x.table()
	}
	return nil
}

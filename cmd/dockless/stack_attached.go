package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/podmanrun"
)

// attachedFlags say how long up stays with its services.
type attachedFlags struct {
	onExit, onFailure bool
	exitCodeFrom      string
	lines             lineFlags
}

func (f *attachedFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.onExit, "abort-on-container-exit", false, "stop everything when one container ends, and end with its exit code")
	flags.BoolVar(&f.onFailure, "abort-on-container-failure", false, "stop everything when one container fails, and end with its exit code")
	flags.StringVar(&f.exitCodeFrom, "exit-code-from", "", "stop everything when `SERVICE` ends, and end with its exit code")
	f.lines.register(cmd)
}

// aborts reports whether the end of a container ends the command.
func (f *attachedFlags) aborts() bool { return f.onExit || f.onFailure || f.exitCodeFrom != "" }

// ends reports whether an event does.
func (f *attachedFlags) ends(e podmanrun.Event) bool {
	if e.Kind != podmanrun.EventExited {
		return false
	}
	return f.onExit || e.Service == f.exitCodeFrom || f.onFailure && e.ExitCode() != 0
}

// lastWords is how long lines may still come after everything was stopped.
const lastWords = 3 * time.Second

// errAborted is why a session ends that the end of a container ends.
var errAborted = errors.New("a container ended")

// attend shows what the services of a stack write until all of them have ended,
// a signal came, or the flags say that it is enough. Then it stops them; a second
// signal kills them.
func (f *attachedFlags) attend(ctx context.Context, cmd *cobra.Command, c *podmanrun.Client, p *podmanrun.Project, stack *podmanrun.Stack, timeout *time.Duration) error {
	again := secondSignal(ctx)
	quiet := p.Quiet()
	printer := f.lines.printer(cmd.OutOrStdout(), slices.DeleteFunc(p.ServiceNames(), func(name string) bool { return slices.Contains(quiet, name) }))
	until, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	code := 0
	var once sync.Once
	ended := make(chan error, 1)
	// What services say while they are stopped is shown too.
	followCtx, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFollowing()
	go func() {
		ended <- stack.Follow(followCtx, podmanrun.FollowOptions{
			Quiet: quiet, Line: printer.line,
			Changed: func(e podmanrun.Event) {
				printer.event(cmd.ErrOrStderr(), e)
				if f.ends(e) {
					once.Do(func() {
						code = e.ExitCode()
						abort(errAborted)
					})
				}
			},
		})
	}()
	select {
	case err := <-ended:
		return passed(code, err)
	case <-until.Done():
	}
	stopped := ctx.Err() != nil
	if stopped {
		say(cmd.ErrOrStderr(), "stopping; a second signal kills the services\n")
	}
	err := f.stop(context.WithoutCancel(ctx), c, p, stack, timeout, again)
	if err != nil {
		stopFollowing()
	} else {
		// What a restart policy would start again is waited for no longer.
		defer time.AfterFunc(lastWords, stopFollowing).Stop()
	}
	err = errors.Join(err, <-ended)
	if err == nil && stopped {
		return quietError{exitInterrupted}
	}
	return passed(code, err)
}

// stop stops the services of a stack, and kills them when again is closed.
func (f *attachedFlags) stop(ctx context.Context, c *podmanrun.Client, p *podmanrun.Project, stack *podmanrun.Stack, timeout *time.Duration, again <-chan struct{}) error {
	services := slices.DeleteFunc(p.ServiceNames(), func(name string) bool { return stack.ContainerID(name) == "" })
	// It is bounded by the grace of each service.
	return c.Stop(ctx, stack.Project(), podmanrun.ServicesOptions{Services: services, Timeout: timeout, Hurry: again})
}

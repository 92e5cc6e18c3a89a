package stackcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
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
	flags.BoolVar(&f.onExit, "abort-on-container-exit", false, "stop everything when one container ends that nobody waits to complete, and end with its exit code")
	flags.BoolVar(&f.onFailure, "abort-on-container-failure", false, "stop everything when one container fails, and end with its exit code")
	flags.StringVar(&f.exitCodeFrom, "exit-code-from", "", "end with the exit code of `SERVICE`; alone, it implies --abort-on-container-exit")
	f.lines.register(cmd)
}

// aborts reports whether the end of a container ends the command.
func (f *attachedFlags) aborts() bool { return f.onExit || f.onFailure || f.exitCodeFrom != "" }

// verdict finds the end of a session and its exit code in what happens to services.
// It is told one thing at a time.
type verdict struct {
	flags     *attachedFlags
	completes map[string]bool // services that others wait to complete
	code      *int            // nil until it is known
}

func (f *attachedFlags) verdict(p *podmanrun.Project) *verdict {
	v := &verdict{flags: f, completes: make(map[string]bool)}
	for _, step := range podmanrun.Plan(p) {
		for _, d := range step.After {
			v.completes[d.Service] = v.completes[d.Service] || d.Condition == podmanrun.ServiceCompleted
		}
	}
	return v
}

// ends takes note of an event, and reports whether it ends the session.
func (v *verdict) ends(e podmanrun.Event) bool {
	if e.Kind != podmanrun.EventExited {
		return false
	}
	code, from := e.ExitCode(), v.flags.exitCodeFrom
	ends := e.Service == from
	switch {
	case v.completes[e.Service] && code == 0: // it has done what it is for
	case v.flags.onFailure:
		ends = ends || code != 0
	case v.flags.onExit, from != "":
		ends = true
	}
	if v.code == nil && (e.Service == from || from == "" && ends) {
		v.code = &code
	}
	return ends
}

// exitCode is that of the session. A service whose end nobody told is asked for it.
func (v *verdict) exitCode(ctx context.Context, c *podmanrun.Client, stack *podmanrun.Stack) (int, error) {
	if v.code != nil {
		return *v.code, nil
	}
	id := stack.ContainerID(v.flags.exitCodeFrom)
	if id == "" {
		return 0, nil
	}
	end, err := c.Ended(ctx, id)
	if err == nil && end == nil {
		err = fmt.Errorf("service %s has not ended, so it has no exit code", v.flags.exitCodeFrom)
	}
	if err != nil {
		return 0, err
	}
	return end.Code, nil
}

// lastWords is how long lines may still come after everything was stopped.
const lastWords = 3 * time.Second

// errAborted is why a session ends that the end of a container ends.
var errAborted = errors.New("a container ended")

// attend shows what the services of a stack write until all of them have ended,
// a signal came, or the flags say that it is enough. Then it stops them; a second
// signal kills them.
func (f *attachedFlags) attend(ctx context.Context, cmd *cobra.Command, c *podmanrun.Client, p *podmanrun.Project, stack *podmanrun.Stack, timeout *time.Duration) error {
	again := cmdline.SecondSignal(ctx)
	quiet := p.Quiet()
	printer := f.lines.printer(cmd.OutOrStdout(), slices.DeleteFunc(p.ServiceNames(), func(name string) bool { return slices.Contains(quiet, name) }))
	until, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	verdict := f.verdict(p)
	ended := make(chan error, 1)
	// What services say while they are stopped is shown too.
	followCtx, stopFollowing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFollowing()
	go func() {
		ended <- stack.Follow(followCtx, podmanrun.FollowOptions{
			Quiet: quiet, Line: printer.line,
			Changed: func(e podmanrun.Event) {
				printer.event(cmd.ErrOrStderr(), e)
				if verdict.ends(e) {
					abort(errAborted)
				}
			},
		})
	}()
	select {
	case err := <-ended:
		if err != nil {
			return err
		}
		return passed(verdict.exitCode(ctx, c, stack))
	case <-until.Done():
	}
	stopped := ctx.Err() != nil
	if stopped {
		console.Say(cmd.ErrOrStderr(), "stopping; a second signal kills the services\n")
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
		return cmdline.ExitWith(cmdline.ExitInterrupted)
	}
	if err != nil {
		return err
	}
	return passed(verdict.exitCode(ctx, c, stack))
}

// stop stops the services of a stack, and kills them when again is closed.
func (f *attachedFlags) stop(ctx context.Context, c *podmanrun.Client, p *podmanrun.Project, stack *podmanrun.Stack, timeout *time.Duration, again <-chan struct{}) error {
	services := slices.DeleteFunc(p.ServiceNames(), func(name string) bool { return stack.ContainerID(name) == "" })
	// It is bounded by the grace of each service.
	return c.Stop(ctx, stack.Project(), podmanrun.ServicesOptions{Services: services, Owner: jobOwner(), Timeout: timeout, Hurry: again})
}

package podmanrun

import (
	"context"
	"errors"
	"time"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Stop stops containers, those that depend on others first. One that does not run
// is no error.
func (c *Client) Stop(ctx context.Context, project string, o ServicesOptions) error {
	return c.each(ctx, project, o, dependentsFirst, func(ctx context.Context, l libpod.Listed, _ []libpod.Listed) (EventKind, error) {
		if libpod.Ended(l.State) || l.State == "created" {
			again, err := c.startedAgain(ctx, l)
			if err != nil || !again {
				return "", err
			}
			l.State = "running"
		}
		wait := o.grace(l)
		if err := c.wake(ctx, &l); err != nil {
			return "", err
		}
		if o.Hurry == nil {
			c.preStop(ctx, l, wait)
			return unlessGone(EventStopped, c.api.StopContainer(ctx, l.ID, l.Name(), wait))
		}
		patient, cancel := untilClosed(ctx, o.Hurry)
		defer cancel()
		c.preStop(patient, l, wait)
		if err := c.askToStop(patient, l, wait); err != nil {
			return "", err
		}
		return unlessGone(EventStopped, c.api.StopContainer(ctx, l.ID, l.Name(), 0))
	})
}

// errHurry is why what is done before a container is killed is cut short.
var errHurry = errors.New("somebody is in a hurry")

// untilClosed returns a context that also ends when c is closed. The caller cancels it.
func untilClosed(ctx context.Context, c <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c:
			cancel(errHurry)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// askToStop sends a container its stop signal, and returns when it has ended, or its
// grace or ctx has. Podman 4 does nothing else with a container that it stops, not
// even kill it.
func (c *Client) askToStop(ctx context.Context, l libpod.Listed, grace time.Duration) error {
	answer, err := c.api.InspectContainer(ctx, l.ID)
	if err == nil {
		err = c.api.KillContainer(ctx, l.ID, l.Name(), answer.StopSignal())
	}
	if err == nil {
		waitCtx, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		if answer, err = newExits(c.api).wait(waitCtx, l.ID); waitCtx.Err() != nil {
			return nil
		}
	}
	if err == nil && answer.StartsAgain() {
		err = c.settled(ctx, l.ID)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it is killed now
	}
	return ignoreGone(err)
}

// startedAgain reports whether a listed container that had just ended, of a signal for
// example, runs again since: for a moment, Podman 4 says that one has stopped which it is
// about to start.
func (c *Client) startedAgain(ctx context.Context, l libpod.Listed) (bool, error) {
	if l.State != "stopped" {
		return false, nil
	}
	answer, err := c.api.InspectContainer(ctx, l.ID)
	if err == nil && !answer.StartsAgain() {
		return false, nil
	}
	if err == nil {
		err = c.settled(ctx, l.ID)
	}
	if err == nil {
		answer, err = c.api.InspectContainer(ctx, l.ID)
	}
	if err != nil {
		return false, ignoreGone(err)
	}
	return !libpod.Ended(answer.State.Status), nil
}

// wake lets the processes of a paused container go on: a frozen one can be neither
// stopped nor told anything.
func (c *Client) wake(ctx context.Context, l *libpod.Listed) error {
	if l.State != "paused" {
		return nil
	}
	l.State = "running"
	return ignoreGone(c.api.UnpauseContainer(ctx, l.ID, l.Name()))
}

// ignoreGone returns nil for what says that a container does not run.
func ignoreGone(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

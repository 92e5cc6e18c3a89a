package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// ServicesOptions say which containers of a project something is done to, and how.
type ServicesOptions struct {
	Services []string       // empty is every service
	Owner    Owner          // only this owner's containers; zero: everybody's
	Timeout  *time.Duration // time between SIGTERM and SIGKILL instead of each service's own; nil keeps those
	Progress func(Event)    // told what was done, one event at a time; may be nil

	// Hurry, when it is closed, ends the grace of what is being stopped by
	// [Client.Stop]; nil never does.
	Hurry <-chan struct{}
}

// Start starts containers that were stopped, with their hooks, those that others
// depend on first. Each waits until the ones before it, running or just started, are
// as their services are waited for: healthy, as far as they have a healthcheck, and
// completed.
func (c *Client) Start(ctx context.Context, project string, o ServicesOptions) error {
	return c.each(ctx, project, o, dependenciesFirst, func(ctx context.Context, l libpod.Listed, list []libpod.Listed) (EventKind, error) {
		if l.State == "running" {
			return "", c.arrives(ctx, l, list)
		}
		if err := c.start(ctx, l.ID, l.Name(), l.Labels); err != nil {
			return "", err
		}
		if err := c.postStart(ctx, l); err != nil {
			return "", err
		}
		return EventStarted, c.arrives(ctx, l, list)
	})
}

// Restart stops containers and starts them again, in the order of [Client.Start].
// A service that says that it follows the restart of one of them is restarted too.
func (c *Client) Restart(ctx context.Context, project string, o ServicesOptions) error {
	if len(o.Services) > 0 {
		list, err := c.listed(ctx, o.Owner, project, nil)
		if err != nil {
			return err
		}
		o.Services = withFollowers(o.Services, list)
	}
	return c.each(ctx, project, o, dependenciesFirst, func(ctx context.Context, l libpod.Listed, list []libpod.Listed) (EventKind, error) {
		wait := o.grace(l)
		if err := c.wake(ctx, &l); err != nil {
			return "", err
		}
		c.preStop(ctx, l, wait)
		if err := c.restart(ctx, l.ID, l.Name(), l.Labels, wait); err != nil {
			return "", err
		}
		if err := c.postStart(ctx, l); err != nil {
			return "", err
		}
		return EventRestarted, c.arrives(ctx, l, list)
	})
}

// Kill sends a signal, by name or number, to the processes of containers that run.
func (c *Client) Kill(ctx context.Context, project, signal string, o ServicesOptions) error {
	return c.each(ctx, project, o, inAnyOrder, func(ctx context.Context, l libpod.Listed, _ []libpod.Listed) (EventKind, error) {
		if l.State != "running" {
			return "", nil
		}
		return unlessGone(EventKilled, c.api.KillContainer(ctx, l.ID, l.Name(), signal))
	})
}

// Pause freezes the processes of containers that run.
func (c *Client) Pause(ctx context.Context, project string, o ServicesOptions) error {
	return c.each(ctx, project, o, inAnyOrder, func(ctx context.Context, l libpod.Listed, _ []libpod.Listed) (EventKind, error) {
		if l.State != "running" {
			return "", nil
		}
		return unlessGone(EventPaused, c.api.PauseContainer(ctx, l.ID, l.Name()))
	})
}

// Unpause lets the processes of paused containers go on.
func (c *Client) Unpause(ctx context.Context, project string, o ServicesOptions) error {
	return c.each(ctx, project, o, inAnyOrder, func(ctx context.Context, l libpod.Listed, _ []libpod.Listed) (EventKind, error) {
		if l.State != "paused" {
			return "", nil
		}
		return unlessGone(EventUnpaused, c.api.UnpauseContainer(ctx, l.ID, l.Name()))
	})
}

// unlessGone is the outcome of what was done to a container: nothing, when it has ended
// or was removed since it was listed.
func unlessGone(kind EventKind, err error) (EventKind, error) {
	if gone(err) {
		return "", nil
	}
	return kind, err
}

func (o ServicesOptions) grace(l libpod.Listed) time.Duration {
	if o.Timeout != nil {
		return *o.Timeout
	}
	return graceOf(l)
}

// order says which other containers of a list something is done to before it is
// done to one.
type order func(l libpod.Listed, list []libpod.Listed) []libpod.Listed

func inAnyOrder(libpod.Listed, []libpod.Listed) []libpod.Listed { return nil }

func dependentsFirst(l libpod.Listed, list []libpod.Listed) []libpod.Listed {
	return dependents(l, list)
}

func dependenciesFirst(l libpod.Listed, list []libpod.Listed) []libpod.Listed {
	var found []libpod.Listed
	for _, other := range list {
		if slices.ContainsFunc(dependents(other, list), func(d libpod.Listed) bool { return d.ID == l.ID }) {
			found = append(found, other)
		}
	}
	return found
}

// each does something to every container of the services, which do gets as a list, at
// the same time as far as the order allows. Those that come after one that failed are left out.
func (c *Client) each(ctx context.Context, project string, o ServicesOptions, before order, do func(ctx context.Context, l libpod.Listed, list []libpod.Listed) (EventKind, error)) error {
	list, err := c.listed(ctx, o.Owner, project, o.Services)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var errs []error
	failed := make(map[string]bool)
	done := make(map[string]chan struct{}, len(list)) // by container; closed when its turn is over
	for _, l := range list {
		done[l.ID] = make(chan struct{})
	}
	slots := make(chan struct{}, parallel)
	one := func(l libpod.Listed) error {
		for _, first := range before(l, list) {
			<-done[first.ID] // everything that is done is bounded
			mu.Lock()
			skip := failed[first.ID]
			failed[l.ID] = failed[l.ID] || skip
			mu.Unlock()
			if skip {
				return nil
			}
		}
		slots <- struct{}{}
		defer func() { <-slots }()
		kind, err := do(ctx, l, list)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[l.ID] = true
			return fmt.Errorf("service %s: %w", subject(l.Labels[LabelService], replicaIn(l, list)), err)
		}
		if kind != "" && o.Progress != nil {
			o.Progress(Event{Service: l.Labels[LabelService], Replica: replicaIn(l, list), Kind: kind})
		}
		return nil
	}
	var g errgroup.Group
	for _, l := range list {
		g.Go(func() error {
			defer close(done[l.ID])
			if err := one(l); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs, all of them
	return errors.Join(errs...)
}

// completeTimeout bounds the wait for the end of a container that others wait to
// complete: as long as up waits unless it is told otherwise.
const completeTimeout = 5 * time.Minute

// arrives waits until a started container is as others in list want it: has ended
// well for those that wait for that, else is healthy.
func (c *Client) arrives(ctx context.Context, l libpod.Listed, list []libpod.Listed) error {
	if !slices.ContainsFunc(list, func(o libpod.Listed) bool {
		return slices.Contains(names(o.Labels[labelWaits]), l.Labels[LabelService])
	}) {
		return c.untilHealthy(ctx, l)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, completeTimeout, fmt.Errorf("it did not end within %s, which others wait for", completeTimeout))
	defer cancel()
	answer, err := newExits(c.api).wait(ctx, l.ID)
	if err != nil {
		return err
	}
	if code := answer.State.ExitCode; code != 0 {
		return errors.New(endText(code) + ", and others wait for it to end well")
	}
	return nil
}

// untilHealthy waits until the check of a started container passes; at once when
// it has none.
func (c *Client) untilHealthy(ctx context.Context, l libpod.Listed) error {
	h := checkFrom(l.Labels)
	if h == nil {
		return nil
	}
	err := h.untilHealthy(ctx, time.Now(), func(ctx context.Context) (bool, error) {
		healthy, _, err := c.api.CheckContainer(ctx, l.ID, l.Name(), h.Timeout)
		return healthy, err
	})
	if gone(err) {
		return errors.New("the container ended before it was healthy")
	}
	return err
}

// withFollowers adds the services that are restarted when one of services is.
func withFollowers(services []string, list []libpod.Listed) []string {
	all := slices.Clone(services)
	for i := 0; i < len(all); i++ {
		for _, l := range list {
			if name := l.Labels[LabelService]; slices.Contains(names(l.Labels[labelFollows]), all[i]) && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

package podmanrun

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// undo removes everything this call has made, and stops what it has only started.
// What another call is making of the same project meanwhile is left alone.
func (u *up) undo(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(u.unmake(ctx), u.stopAgain(ctx))
}

func (u *up) unmake(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cleanupTimeout, errCleanupTimeout)
	defer cancel()
	list, err := u.client.api.ListContainers(ctx, ownedBy(u.options.Owner, u.project.Name, nil))
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(l libpod.Listed) bool { return !u.made(l) })
	errs := []error{u.client.removeAll(ctx, list, new(time.Duration), func(l libpod.Listed) {
		u.emit(Event{Service: l.Labels[LabelService], Replica: replicaIn(l, list), Kind: EventRemoved})
	})}
	// What another call uses by now stays, and goes with what that one has made.
	for _, name := range u.networks {
		if err := u.client.api.RemoveNetwork(ctx, name, false); !isInUse(err) {
			errs = append(errs, err)
		}
	}
	for _, name := range u.volumes {
		if err := u.client.api.RemoveVolume(ctx, name); !isInUse(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// made reports whether this call has made a container, or may have: one whose
// creation was not answered is found by its name.
func (u *up) made(l libpod.Listed) bool {
	there := func(b libpod.Listed) bool { return b.ID == l.ID }
	if slices.ContainsFunc(u.before, there) || slices.ContainsFunc(u.aside, there) {
		return false
	}
	for n := range u.all() {
		if n.id == l.ID || n.id == "" && n.unanswered && n.request.Name == l.Name() {
			return true
		}
	}
	return false
}

// stopAgain stops the containers that were there and did not run.
func (u *up) stopAgain(ctx context.Context) error {
	var g errgroup.Group
	for n := range u.all() {
		if n.again {
			g.Go(func() error {
				l, wait := n.was, u.grace(n.was)
				l.State = "running" // if this call has come so far
				u.client.preStop(ctx, l, wait)
				err := u.client.api.StopContainer(ctx, l.ID, l.Name(), wait) // bounded by the grace period
				if gone(err) {
					return nil
				}
				return err
			})
		}
	}
	return g.Wait()
}

package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// explainTimeout bounds the questions about a service that failed; the answer
// is worth a few seconds, not more.
const explainTimeout = 10 * time.Second

// waitTimeoutError is the cause of a start that took longer than it may.
type waitTimeoutError struct{ after time.Duration }

func (e *waitTimeoutError) Error() string {
	return fmt.Sprintf("the stack was not up within %s", e.after)
}

// explain turns what ended a start into the error of the service behind it,
// with its last words and the services that waited for it.
func (u *up) explain(ctx context.Context, err error) error {
	failed, ok := errors.AsType[*ServiceError](err)
	if !ok {
		timeout, ok := errors.AsType[*waitTimeoutError](err)
		if !ok {
			return fmt.Errorf("starting project %s: %w", u.project.Name, err)
		}
		failed = u.slowest(timeout)
	}
	failed.Chain = waitingFor(u.project, failed.Service, func(name string) bool {
		return !slices.ContainsFunc(u.units[name], func(n *unit) bool { return passed(n.running) })
	})
	units := u.units[failed.Service]
	if len(units) == 0 {
		return failed
	}
	n := units[min(max(failed.Replica, 1), len(units))-1]
	if !passed(n.created) {
		return failed
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), explainTimeout, errors.New("podman did not answer"))
	defer cancel()
	failed.Logs = u.client.api.LastLines(ctx, n.id, n.request.Name, errorLines)
	if answer, err := u.client.api.InspectContainer(ctx, n.id); err == nil {
		if log := answer.State.Health.Log; len(log) > 0 && !passed(n.healthy) {
			failed.Health = log[len(log)-1].Output
		}
		if answer.State.OOMKilled {
			failed.Err = fmt.Errorf("%w: it used more memory than its limit", failed.Err)
		}
	}
	return failed
}

// slowest blames the service that runs but is not ready, or else the one whose
// image or container did not come.
func (u *up) slowest(timeout *waitTimeoutError) *ServiceError {
	names := slices.Sorted(maps.Keys(u.units))
	blame := func(reason string, guilty func(*unit) bool) *ServiceError {
		for _, name := range names {
			if i := slices.IndexFunc(u.units[name], guilty); i >= 0 {
				return &ServiceError{
					Project: u.project.Name, Service: name, Replica: u.units[name][i].number(),
					Err: fmt.Errorf("%s within %s: %w", reason, timeout.after, timeout),
				}
			}
		}
		return nil
	}
	if e := blame("it was not healthy", func(n *unit) bool {
		return passed(n.launched) && n.health != nil && !passed(n.healthy) && !passed(n.completed)
	}); e != nil {
		return e
	}
	if e := blame("it did not end", func(n *unit) bool { return passed(n.running) && n.completes && !passed(n.completed) }); e != nil {
		return e
	}
	if e := blame("its image was not there", func(n *unit) bool { return !passed(n.resolved) }); e != nil {
		return e
	}
	if e := blame("it was not running", func(n *unit) bool { return !passed(n.running) }); e != nil {
		return e
	}
	return &ServiceError{Project: u.project.Name, Service: names[0], Err: timeout}
}

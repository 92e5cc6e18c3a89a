package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// watchEnd waits for the container's end, which is the goal of one that completes.
func (n *unit) watchEnd(ctx context.Context, reachedGoal func()) error {
	answer, err := n.lastEnd(ctx)
	switch {
	case err == nil:
		if err := n.ended(answer.State.ExitCode); err != nil {
			return err
		}
		reachedGoal()
		return nil
	case ctx.Err() != nil:
		return nil
	}
	return n.fail(err)
}

// watchHealth runs the check until it passes, which is the goal of every other container.
func (n *unit) watchHealth(ctx context.Context, reachedGoal func()) error {
	err := n.becomeHealthy(ctx)
	switch {
	case err == nil:
		if !n.completes {
			reachedGoal()
		}
		return nil
	case errors.Is(err, errUnhealthy):
		n.emit(EventUnhealthy, err.Error())
		if n.completes && !n.vital {
			return nil // how it ends is what counts
		}
	case ctx.Err() != nil, libpod.HasStatus(err, http.StatusNotFound):
		return nil
	case libpod.HasStatus(err, http.StatusConflict):
		return n.uncheckable(ctx, reachedGoal)
	}
	return n.fail(err)
}

// uncheckable tells a container that has ended, which watchEnd tells, from one that
// was kept and was made without the healthcheck that its service has now.
func (n *unit) uncheckable(ctx context.Context, reachedGoal func()) error {
	answer, err := n.up.client.api.InspectContainer(ctx, n.id)
	if err != nil || !answer.State.Running || answer.Config.Labels[labelCheck] != "" {
		return nil // that it is gone is told, too
	}
	n.emit(EventWarning, "it was kept and has no healthcheck; let it be made anew to have the one of its service")
	close(n.healthy)
	if !n.completes {
		reachedGoal()
	}
	return nil
}

// ended judges the end of the container while the stack comes up.
func (n *unit) ended(code int) error {
	n.emit(EventExited, strconv.Itoa(code))
	if code == 0 && (n.completes || n.health == nil) {
		close(n.completed)
		return nil
	}
	err := errors.New(endText(code))
	if !passed(n.healthy) && n.health != nil {
		err = fmt.Errorf("%w before it was healthy", err)
	}
	return n.endedWith(code, err)
}

// endedWith is the failure of a container that has ended.
func (n *unit) endedWith(code int, err error) error {
	return &ServiceError{
		Project: n.up.project.Name, Service: n.name, Replica: n.number(), Kind: FailureExited, Err: err, Exited: true, Code: code,
	}
}

// becomeHealthy returns when the check has passed; at once without a check.
func (n *unit) becomeHealthy(ctx context.Context) error {
	if n.health == nil || passed(n.healthy) {
		return nil
	}
	err := n.checked(ctx)
	if err == nil {
		n.emit(EventHealthy, "")
		close(n.healthy)
	}
	return err
}

// checked returns when the check has passed.
func (n *unit) checked(ctx context.Context) error {
	var slow bool
	err := n.health.untilHealthy(ctx, time.Now(), func(ctx context.Context) (healthy bool, err error) {
		healthy, slow, err = n.up.client.api.CheckContainer(ctx, n.id, n.request.Name, n.health.Timeout)
		if n.request.RestartPolicy != "" && libpod.HasStatus(err, http.StatusConflict) {
			return false, nil // it has ended, and Podman starts it again
		}
		return healthy, err
	})
	if errors.Is(err, errUnhealthy) && slow {
		return fmt.Errorf("%w, the last time by taking longer than its timeout of %s", err, n.health.Timeout)
	}
	return err
}

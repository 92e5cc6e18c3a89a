package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// unit is one service on its way up. Its goroutine alone changes it; what others
// may look at is written before the milestone that allows it.
type unit struct {
	up        *up
	name      string
	service   types.ServiceConfig
	request   *createRequest
	completes bool // another service waits for this one to end well

	resolved  chan struct{} // closed when health is known
	health    *healthConfig // nil is no healthcheck
	created   chan struct{} // closed when id is known
	id        string
	running   chan struct{} // closed when the container has been started
	healthy   chan struct{} // closed when its check has passed
	completed chan struct{} // closed when it has ended with 0
}

func newUnit(u *up, service types.ServiceConfig, request *createRequest) *unit {
	return &unit{
		up: u, name: service.Name, service: service, request: request,
		resolved: make(chan struct{}), created: make(chan struct{}), running: make(chan struct{}),
		healthy: make(chan struct{}), completed: make(chan struct{}),
	}
}

// fail makes err the error of this service.
func (n *unit) fail(err error) error {
	return &ServiceError{Project: n.up.project.Name, Service: n.name, Err: err}
}

// run takes the service to its goal, calls reachedGoal, and watches it until
// ctx ends. What ends with ctx is no failure of this service.
func (n *unit) run(ctx context.Context, image *future[*libpod.Image], ground *future[struct{}], reachedGoal func()) error {
	if err := n.start(ctx, image, ground); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return n.fail(err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.watchEnd(gctx, reachedGoal) })
	g.Go(func() error { return n.watchHealth(gctx, reachedGoal) })
	return g.Wait()
}

// watchEnd waits for the container's end, which is the goal of one that completes.
func (n *unit) watchEnd(ctx context.Context, reachedGoal func()) error {
	code, err := n.up.client.api.WaitContainer(ctx, n.id, n.request.Name)
	switch {
	case err == nil:
		if err := n.ended(code); err != nil {
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
		n.up.emit(Event{Service: n.name, Kind: EventUnhealthy, Text: err.Error()})
	case ctx.Err() != nil, libpod.HasStatus(err, http.StatusConflict), libpod.HasStatus(err, http.StatusNotFound):
		return nil // the container has ended, which watchEnd tells
	}
	return n.fail(err)
}

// ended judges the end of the container while the stack comes up.
func (n *unit) ended(code int) error {
	n.up.emit(Event{Service: n.name, Kind: EventExited, Text: strconv.Itoa(code)})
	if code == 0 && (n.completes || n.health == nil) {
		close(n.completed)
		return nil
	}
	err := fmt.Errorf("the container ended with exit code %d", code)
	if !passed(n.healthy) && n.health != nil {
		err = fmt.Errorf("%w before it was healthy", err)
	}
	return &ServiceError{Project: n.up.project.Name, Service: n.name, Err: err, Exited: true, Code: code}
}

// start creates the container while its dependencies are still on their way,
// and starts it when they have arrived.
func (n *unit) start(ctx context.Context, image *future[*libpod.Image], ground *future[struct{}]) error {
	img, err := image.wait(ctx)
	if err != nil {
		return err
	}
	its := (*healthConfig)(img.Healthcheck)
	n.health = healthOf(n.service, its)
	close(n.resolved)
	n.up.emit(Event{Service: n.name, Kind: EventPulled})
	if _, err := ground.wait(ctx); err != nil {
		return err
	}
	n.request.addHealth(n.health, its)
	n.request.seal(img.ID)
	kept, err := n.create(ctx)
	if err != nil {
		return err
	}
	close(n.created)
	if err := n.dependencies(ctx); err != nil {
		return err
	}
	if !kept {
		if err := n.inSlot(ctx, func(ctx context.Context) error { return n.up.client.api.StartContainer(ctx, n.id, n.request.Name) }); err != nil {
			return err
		}
		n.up.emit(Event{Service: n.name, Kind: EventStarted})
	}
	close(n.running)
	return nil
}

// create keeps the running container that is what it should be, or replaces
// what is there by a new one.
func (n *unit) create(ctx context.Context) (kept bool, err error) {
	for _, l := range n.up.before {
		if l.Labels[LabelService] != n.name {
			continue
		}
		if l.State == "running" && l.Labels[labelHash] == n.request.Labels[labelHash] && n.id == "" {
			n.id = l.ID
			continue
		}
		if err := n.up.client.api.RemoveContainer(ctx, l.ID, l.Name(), graceOf(l)); err != nil {
			return false, err
		}
		n.up.emit(Event{Service: n.name, Kind: EventRemoved})
	}
	if n.id != "" {
		n.up.emit(Event{Service: n.name, Kind: EventKept})
		return true, nil
	}
	err = n.inSlot(ctx, func(ctx context.Context) (err error) {
		n.id, err = n.up.client.api.CreateContainer(ctx, (*libpod.CreateRequest)(n.request))
		return err
	})
	if err == nil {
		n.up.emit(Event{Service: n.name, Kind: EventCreated})
	}
	return false, err
}

// inSlot runs op, one of few at a time. Op gets a context that does not end
// halfway, because half a creation could not be undone.
func (n *unit) inSlot(ctx context.Context, op func(context.Context) error) error {
	select {
	case n.up.slots <- struct{}{}:
		defer func() { <-n.up.slots }()
		return op(context.WithoutCancel(ctx))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dependencies waits until all of them are as this service wants them.
func (n *unit) dependencies(ctx context.Context) error {
	for _, dep := range dependencies(n.up.project, n.name) {
		other := n.up.units[dep.Service]
		milestone := other.running
		switch dep.Condition {
		case ServiceCompleted:
			milestone = other.completed
		case ServiceHealthy:
			if err := reached(ctx, other.resolved); err != nil {
				return err
			}
			if other.health == nil {
				return fmt.Errorf("it waits for %s to be healthy, but %s has no healthcheck", other.name, other.name)
			}
			milestone = other.healthy
		}
		if err := reached(ctx, milestone); err != nil {
			return err
		}
	}
	return nil
}

// becomeHealthy returns when the check has passed; at once without a check.
func (n *unit) becomeHealthy(ctx context.Context) error {
	if n.health == nil {
		return nil
	}
	var slow bool
	err := n.health.untilHealthy(ctx, time.Now(), func(ctx context.Context) (healthy bool, err error) {
		healthy, slow, err = n.up.client.api.CheckContainer(ctx, n.id, n.request.Name, n.health.Timeout)
		return healthy, err
	})
	if errors.Is(err, errUnhealthy) && slow {
		return fmt.Errorf("%w, the last time by taking longer than its timeout of %s", err, n.health.Timeout)
	}
	if err == nil {
		n.up.emit(Event{Service: n.name, Kind: EventHealthy})
		close(n.healthy)
	}
	return err
}

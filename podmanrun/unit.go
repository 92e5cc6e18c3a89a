package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
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
func (n *unit) run(ctx context.Context, image *future[*imageAnswer], ground *future[struct{}], reachedGoal func()) error {
	err := n.start(ctx, image, ground)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return n.fail(err)
	}
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	watchCtx, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go func() {
		code, err := n.up.client.waitContainer(watchCtx, n.id, n.name)
		ended <- end{code, err}
	}()
	passedCheck := make(chan error, 1)
	go func() { passedCheck <- n.becomeHealthy(watchCtx) }()
	for checking, watching := true, true; checking || watching; {
		select {
		case err := <-passedCheck:
			checking = false
			switch {
			case err == nil && !n.completes:
				reachedGoal()
			case errors.Is(err, errUnhealthy):
				n.up.emit(Event{Service: n.name, Kind: EventUnhealthy, Text: err.Error()})
				stopWatching()
				<-ended
				return n.fail(err)
			case err != nil && watchCtx.Err() == nil && !hasStatus(err, http.StatusConflict) && !hasStatus(err, http.StatusNotFound):
				stopWatching()
				<-ended
				return n.fail(err)
			}
		case e := <-ended:
			watching = false
			stopWatching()
			if checking {
				<-passedCheck
				checking = false
			}
			if e.err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return n.fail(e.err)
			}
			if err := n.ended(e.code); err != nil {
				return err
			}
			reachedGoal()
		}
	}
	return nil
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
func (n *unit) start(ctx context.Context, image *future[*imageAnswer], ground *future[struct{}]) error {
	img, err := image.wait(ctx)
	if err != nil {
		return err
	}
	n.health = healthOf(n.service, img.Healthcheck)
	close(n.resolved)
	n.up.emit(Event{Service: n.name, Kind: EventPulled})
	if _, err := ground.wait(ctx); err != nil {
		return err
	}
	n.request.addHealth(n.health, img.Healthcheck)
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
		if err := n.inSlot(ctx, func(ctx context.Context) error { return n.up.client.startContainer(ctx, n.id, n.request.Name) }); err != nil {
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
		if err := n.up.client.removeContainer(ctx, l.ID, l.name(), l.grace()); err != nil {
			return false, err
		}
		n.up.emit(Event{Service: n.name, Kind: EventRemoved})
	}
	if n.id != "" {
		n.up.emit(Event{Service: n.name, Kind: EventKept})
		return true, nil
	}
	err = n.inSlot(ctx, func(ctx context.Context) (err error) {
		n.id, err = n.up.client.createContainer(ctx, n.request)
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
	err := n.health.untilHealthy(ctx, time.Now(), func(ctx context.Context) (bool, error) {
		return n.up.client.checkContainer(ctx, n.id, n.request.Name, n.health)
	})
	if err == nil {
		n.up.emit(Event{Service: n.name, Kind: EventHealthy})
		close(n.healthy)
	}
	return err
}

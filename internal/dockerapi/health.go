package dockerapi

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun"
)

// healthPause is the time between a failed question for a container's health and the
// next one: a Podman that is restarted is back within seconds.
const healthPause = time.Second

// healthBook knows how the followed containers are. Its methods may be called
// concurrently.
type healthBook struct {
	mu        sync.Mutex
	followed  map[string]context.CancelCauseFunc // containers that somebody follows, and how to have them followed from the start
	states    map[string]podmanrun.Health        // containers that have a healthcheck
	listeners map[chan healthEvent]bool
}

// healthEvent is a turn of a container's health.
type healthEvent struct {
	container thing
	health    podmanrun.Health
}

func newHealthBook() *healthBook {
	return &healthBook{
		followed: make(map[string]context.CancelCauseFunc), states: make(map[string]podmanrun.Health), listeners: make(map[chan healthEvent]bool),
	}
}

// errStartedAgain ends the following of a container that is followed anew.
var errStartedAgain = errors.New("the container was started again")

// claim reports whether the caller shall follow a container that was started: nobody
// does yet. Who does follows it from the start now, and it is as healthy as any that
// has just been started.
func (b *healthBook) claim(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	restart, followed := b.followed[id]
	if !followed {
		b.followed[id] = func(error) {}
		return true
	}
	if _, known := b.states[id]; known {
		b.states[id] = podmanrun.HealthStarting
	}
	restart(errStartedAgain)
	return false
}

// following is the context for following a claimed container until it is started
// again.
func (b *healthBook) following(ctx context.Context, id string) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.followed[id] = cancel
	return ctx, cancel
}

func (b *healthBook) release(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.followed, id)
	delete(b.states, id)
}

func (b *healthBook) state(id string) (podmanrun.Health, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, ok := b.states[id]
	return h, ok
}

// turn writes down what a container has become and tells the listeners. One
// that does not keep up loses the turn, never the rest of them.
func (b *healthBook) turn(e healthEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states[e.container.ID] = e.health
	for l := range b.listeners {
		select {
		case l <- e:
		default:
		}
	}
}

// listen returns a channel of turns, which is never closed. It holds more than
// the containers of a job turn before one write to a socket has ended.
func (b *healthBook) listen() (turns chan healthEvent, stop func()) {
	turns = make(chan healthEvent, 256)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners[turns] = true
	return turns, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, turns)
	}
}

// followHealth runs the healthcheck of a container that has been started until
// it is gone or the job ends.
func (s *Server) followHealth(ctx context.Context, id string) {
	t, err := s.look(ctx, "containers", id)
	for err != nil {
		if errors.Is(err, errAbsent) || retry.Wait(ctx, healthPause) != nil {
			return // it has gone already, or the job has
		}
		t, err = s.look(ctx, "containers", id)
	}
	t.Name = strings.TrimPrefix(t.Name, "/")
	again := false
	for {
		once, done := s.health.following(ctx, id)
		err := s.podman.FollowHealth(once, id, func(h podmanrun.Health) {
			if !again { // it starts to be followed again, not to be
				s.health.turn(healthEvent{t, h})
			}
			again = false
		})
		restarted := errors.Is(context.Cause(once), errStartedAgain)
		done(nil)
		if restarted && ctx.Err() == nil {
			again = false
			continue
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.WarnContext(ctx, "asking for the health of a container failed", "container", t.Name, "retry_after", healthPause, "error", err)
		again = true
		if retry.Wait(ctx, healthPause) != nil {
			return
		}
	}
}

// showHealth puts the health that we know into the inspection of a container.
// Podman's own counts every one of our frequent checks.
func (s *Server) showHealth(id string, resp *http.Response) error {
	health, ok := s.health.state(id)
	if !ok {
		return nil
	}
	var raw json.RawMessage
	ok, err := readAnswer(resp, &raw)
	if !ok {
		return err
	}
	o, err := parseAnswer(raw)
	if err != nil {
		return err
	}
	state, err := o.object("State")
	if err != nil {
		return err
	}
	var running bool
	if state.read("Running", &running) != nil || !running {
		return nil
	}
	inner, err := state.object("Health")
	if err != nil {
		return err
	}
	inner.set("Status", health)
	if health == podmanrun.HealthHealthy {
		inner.set("FailingStreak", 0)
	}
	state.set("Health", inner)
	o.set("State", state)
	replaceAnswer(resp, o.encode())
	return nil
}

// showStatus puts the health that we know into the state of a container in a
// list, as Docker writes it: "Up 2 minutes (healthy)".
func (s *Server) showStatus(o object) {
	id, status := o.text("Id"), o.text("Status")
	health, ok := s.health.state(id)
	if !ok || !strings.HasPrefix(status, "Up") || strings.HasSuffix(status, ")") && !strings.Contains(status, "health") {
		return
	}
	status, _, _ = strings.Cut(status, " (")
	words := string(health)
	if health == podmanrun.HealthStarting {
		words = "health: starting"
	}
	o.set("Status", status+" ("+words+")")
}

// attributes are what an event tells about its container.
func (t thing) attributes() map[string]string {
	all := maps.Clone(t.labels())
	if all == nil {
		all = make(map[string]string, 2)
	}
	all["name"], all["image"] = t.Name, t.ImageName
	return all
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/probe"
)

const (
	// dependencyPeriod is how often BuildKit and Podman are asked whether they
	// answer: often enough to leave the pool within a minute, rarely enough to
	// stay below a thousandth of a core.
	dependencyPeriod = 20 * time.Second
	// dependencyAge allows one question to take its longest.
	dependencyAge = 2 * dependencyPeriod
	// dependencyBound is the longest question; both fit between two ticks.
	dependencyBound = dependencyPeriod / 4
	// settleTime is when an agent that has booted is idle.
	settleTime = 2 * time.Second
)

// health connects the agent's loops with the probe page. With an empty path
// every slot is nil and beats go nowhere.
type health struct {
	page                        *probe.Writer
	poll, lock, builder, podman *probe.Slot

	mu       sync.Mutex
	draining bool // what the session does makes the agent ready no more
}

// openHealth makes the page. Nobody beats for the dependencies before the agent
// has booted, which may take bootTime to wait for BuildKit and as long to remove
// what a dead job left, so until then they may be silent for longer.
func openHealth(path string, bootTime time.Duration) (*health, error) {
	h := &health{}
	if path == "" {
		return h, nil
	}
	page, err := probe.Create(path)
	if err != nil {
		return nil, hint.With(err, "set DOCKLESS_PROBE_FILE to a file of this agent's own in a directory that can be written, best in /dev/shm, or to nothing")
	}
	h.page = page
	bootAge := 2*bootTime + dependencyAge
	for _, s := range []struct {
		to   **probe.Slot
		name string
		age  time.Duration
	}{
		{&h.poll, "poll", max(agent.MaxPollSilence, bootAge)},
		{&h.lock, "lock", agent.MaxLockSilence},
		{&h.builder, "builder", bootAge},
		{&h.podman, "podman", bootAge},
	} {
		if *s.to, err = page.Slot(s.name, s.age); err != nil {
			return nil, errors.Join(err, page.Close())
		}
	}
	h.lock.Set(probe.Stopped, probe.ReasonIdle)
	return h, nil
}

func (h *health) close() error { return h.page.Close() }

// agent returns the hooks that the agent's loops call.
func (h *health) agent() agent.Health {
	return agent.Health{
		Poll: h.poll.Beat,
		Lock: func(held bool) {
			if held {
				h.lock.Set(probe.Ready, probe.ReasonBusy)
				return
			}
			h.lock.Set(probe.Stopped, probe.ReasonIdle)
		},
		Ready: func(open bool) {
			h.mu.Lock()
			defer h.mu.Unlock()
			switch {
			case h.draining:
				h.poll.Set(probe.Draining, probe.ReasonTold)
			case open:
				h.poll.Set(probe.Ready, probe.ReasonIdle)
			default:
				h.poll.Set(probe.Live, probe.ReasonSession)
			}
		},
		Draining: func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.draining = true
			h.poll.Set(probe.Draining, probe.ReasonTold)
		},
	}
}

// watch asks BuildKit and Podman whether they answer, until ctx ends, also while
// the agent drains. The agent is alive without them, but not ready.
func (h *health) watch(ctx context.Context, shop *workshop, log *slog.Logger) {
	h.poll.Allow(agent.MaxPollSilence)
	for _, s := range []*probe.Slot{h.builder, h.podman} {
		s.Allow(dependencyAge)
	}
	if shop.builder == nil {
		h.builder.Set(probe.Stopped, probe.ReasonNone)
	}
	if shop.podman == nil {
		h.podman.Set(probe.Stopped, probe.ReasonNone)
	}
	tick := time.NewTicker(dependencyPeriod)
	defer tick.Stop()
	settled := time.NewTimer(settleTime)
	defer settled.Stop()
	for {
		if shop.builder != nil {
			judge(ctx, h.builder, probe.ReasonBuilder, "builder", func(ctx context.Context) error { return shop.pingBuilder(ctx, log) }, log)
		}
		if shop.podman != nil {
			judge(ctx, h.podman, probe.ReasonContainers, "podman", shop.podman.Ping, log)
		}
		select {
		case <-tick.C:
		case <-settled.C:
			warnIf(ctx, log, "cannot give memory back", releaseMemory())
		case <-ctx.Done():
			return
		}
	}
}

// judge asks one dependency and writes the answer into its slot.
func judge(ctx context.Context, s *probe.Slot, reason probe.Reason, name string, ping func(context.Context) error, log *slog.Logger) {
	ctx, cancel := context.WithTimeoutCause(ctx, dependencyBound, fmt.Errorf("no answer within %s", dependencyBound))
	defer cancel()
	if err := ping(ctx); err != nil {
		if errors.Is(err, context.Canceled) {
			return
		}
		log.WarnContext(ctx, "dependency does not answer", "name", name, "error", err)
		s.Set(probe.Live, reason)
		return
	}
	s.Set(probe.Ready, probe.ReasonIdle)
}

// pingBuilder asks all nodes at once. Builds go without some of several, so that the
// error is there when none answers.
func (w *workshop) pingBuilder(ctx context.Context, log *slog.Logger) error {
	errs := make([]error, len(w.builder.Nodes))
	var all sync.WaitGroup
	for i, n := range w.builder.Nodes {
		all.Go(func() {
			_, errs[i] = n.Ping(ctx)
			w.metrics.NodeUp(n.Name, errs[i] == nil)
		})
	}
	all.Wait()
	if !slices.Contains(errs, nil) {
		return errors.Join(errs...)
	}
	for i, err := range errs {
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "a node of the builder does not answer", "node", w.builder.Nodes[i].Name, "error", err)
		}
	}
	return nil
}

// warnIf logs an error that changes nothing for anybody.
func warnIf(ctx context.Context, log *slog.Logger, msg string, err error) {
	if err != nil {
		log.WarnContext(ctx, msg, "error", err) //nolint:sloglint // the two callers pass constants
	}
}

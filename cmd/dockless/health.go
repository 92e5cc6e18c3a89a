package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/probe"
	"github.com/dockless-ci/dockless/runner"
)

const probeHint = "set DOCKLESS_PROBE_FILE to a file of this agent's own in a directory that can be written, best in /dev/shm, or to nothing"

// health connects the agent's loops with the probe page: each has a slot, beats into it
// when it has come round, and says there why the agent is not ready. With an empty path
// every slot is nil and beats go nowhere. docs/decisions/0046 has the reasons.
type health struct {
	path string
	page *probe.Writer

	poll, lock, step, report, builder, podman *probe.Slot

	// told is closed when the agent takes no further job.
	told chan struct{}

	mu            sync.Mutex
	open, answers bool // the session; the server that it is with
	busy          bool // with a job, whose lock is held
	draining      bool
}

// openRest is what opening the builder and Podman may take besides their timeouts: ten
// seconds for the lock of the builders, as long for a process of our own that is to end,
// and a minute for the cache of our own buildkitd when its disk is full to the last byte.
const openRest = 90 * time.Second

// bootTime is how long the agent may take before its loops run: it opens the builder and
// Podman at the same time, and then removes what a dead job left.
func (s *agentSettings) bootTime() time.Duration {
	return max(s.Build.Timeout, s.Podman.ConnectTimeout) + openRest + clearTime
}

// openHealth makes the page. Nobody beats before the agent has booted, so until then the
// slots of what runs from then on may be silent for longer: bootTime, and their first
// round.
func openHealth(path string, shared bool, bootTime time.Duration) (*health, error) {
	h := &health{path: path, told: make(chan struct{})}
	if path == "" {
		return h, nil
	}
	open := probe.Create
	if shared {
		open = probe.Join
	}
	page, err := open(path)
	if err != nil {
		return nil, hint.With(err, probeHint)
	}
	h.page = page
	bootAge := bootTime + dependencies.age
	for _, s := range []struct {
		to   **probe.Slot
		name string
		age  time.Duration
	}{
		{&h.poll, "poll", max(agent.MaxPollSilence, bootAge)},
		{&h.lock, "lock", agent.MaxLockSilence},
		{&h.step, "step", runner.MaxStepSilence},
		{&h.report, "report", agent.MaxReportSilence},
		{&h.builder, "builder", bootAge},
		{&h.podman, "podman", bootAge},
	} {
		if *s.to, err = page.Slot(s.name, s.age); err != nil {
			return nil, hint.With(errors.Join(err, page.Close()), probeHint) // another agent's page
		}
	}
	for _, s := range []*probe.Slot{h.lock, h.step, h.report} {
		inJob(s)(false)
	}
	return h, nil
}

func (h *health) close() error { return h.page.Close() }

// inJob returns the beat of a loop that there is only while a job runs.
func inJob(s *probe.Slot) func(running bool) {
	return func(running bool) {
		if running {
			s.Set(probe.Ready, probe.ReasonBusy)
			return
		}
		s.Set(probe.Stopped, probe.ReasonIdle)
	}
}

// agent returns the hooks that the agent's loops call.
func (h *health) agent() agent.Health {
	return agent.Health{
		Poll:     h.poll.Beat,
		Lock:     h.hold,
		Report:   inJob(h.report),
		Ready:    func(open bool) { h.change(func() { h.open, h.answers = open, true }) },
		Answers:  func(yes bool) { h.change(func() { h.answers = yes }) },
		Draining: func() { h.change(h.drain) },
	}
}

// change notes what became of the session, and whether the agent is ready with it.
func (h *health) change(how func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	how()
	switch {
	case h.draining:
		h.poll.Set(probe.Draining, probe.ReasonTold)
	case !h.open:
		h.poll.Set(probe.Live, probe.ReasonSession)
	case !h.answers:
		h.poll.Set(probe.Live, probe.ReasonServer)
	case h.busy:
		h.poll.Set(probe.Ready, probe.ReasonBusy)
	default:
		h.poll.Set(probe.Ready, probe.ReasonIdle)
	}
}

// hold beats for the lock of a job. That there is one, or no longer, is told of the
// message loop once: it has beats of its own.
func (h *health) hold(held bool) {
	inJob(h.lock)(held)
	h.mu.Lock()
	changed := h.busy != held
	h.mu.Unlock()
	if changed { // by the one loop that calls this
		h.change(func() { h.busy = held })
	}
}

// drain is called with mu held.
func (h *health) drain() {
	if !h.draining {
		h.draining = true
		close(h.told)
	}
}

// watch asks BuildKit and Podman whether they answer, until ctx ends, also while
// the agent drains. The agent is alive without them, but not ready.
func (h *health) watch(ctx context.Context, shop *workshop, log *slog.Logger) {
	h.poll.Allow(agent.MaxPollSilence)
	var watches sync.WaitGroup
	defer watches.Wait()
	for _, w := range []watch{
		{name: "builder", slot: h.builder, silent: probe.ReasonBuilder, ask: shop.askBuilder(log)},
		{name: "podman", slot: h.podman, silent: probe.ReasonContainers, ask: shop.askPodman()},
	} {
		w.rhythm = dependencies
		watches.Go(func() { w.run(ctx, log) })
	}
}

// leaveTime is how long the agent may take to go when its loops have ended: it waits
// for the cache exports of its builds, each of which has its bound, and the rest takes
// seconds.
const leaveTime = buildcache.DefaultExportTimeout + time.Minute

// leave says that the agent's loops have ended and that it only cleans up.
func (h *health) leave() {
	h.change(h.drain)
	h.poll.Allow(leaveTime)
}

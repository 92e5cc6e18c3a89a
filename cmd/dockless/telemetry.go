package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/internal/span"
)

// diskPeriod is how often the size of the build caches is asked for, for the
// metrics: buildkitd walks all of its records for it, which takes a large one
// seconds, and a disk does not fill within minutes.
const diskPeriod = 5 * time.Minute

// leaveTrace takes this process out of the trace that it was started in. An agent is
// there for many jobs: each is a trace of its own, and so is what its steps trace.
func leaveTrace() error {
	return errors.Join(os.Unsetenv(span.VariableParent), os.Unsetenv(span.VariableState))
}

// inherited is the environment that steps have from this process. The name of the
// service is the agent's own: a step that sends spans is another one.
func inherited() []string {
	var out []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "OTEL_SERVICE_NAME=") {
			out = append(out, entry)
		}
	}
	return out
}

// agentStates turns what the agent's loops report into the state of the metrics.
type agentStates struct {
	metrics *metrics.Metrics

	mu                   sync.Mutex
	open, busy, draining bool
	state                metrics.State
	since                time.Time // of state
}

// now returns the state and since when it is that.
func (a *agentStates) now() (metrics.State, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state, a.since
}

// observe returns hooks that call those of h, too.
func (a *agentStates) observe(h agent.Health) agent.Health {
	out := h
	out.Lock = func(held bool) {
		h.Lock(held)
		a.change(func() { a.busy = held })
	}
	out.Ready = func(open bool) {
		h.Ready(open)
		a.change(func() { a.open = open })
	}
	out.Draining = func() {
		h.Draining()
		a.change(func() { a.draining = true })
	}
	return out
}

func (a *agentStates) change(how func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	how()
	state := metrics.Offline
	switch {
	case a.draining:
		state = metrics.Draining
	case a.busy:
		state = metrics.Busy
	case a.open:
		state = metrics.Idle
	}
	if state != a.state {
		a.state, a.since = state, time.Now()
	}
	a.metrics.AgentState(state)
}

// watchDisks keeps the metrics of the builder's disks, until ctx ends.
func watchDisks(ctx context.Context, b *buildxsetup.Builder, m *metrics.Metrics) {
	if b == nil || m == nil {
		return
	}
	timer := time.NewTimer(settleTime) // not while the agent boots
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		for _, n := range b.Inspect(ctx) {
			if n.Err == nil { // else the watch over the builder says so
				most, _ := n.Ceiling()
				m.NodeDisk(n.Name, n.Usage.Bytes, most, time.Now())
			}
		}
		timer.Reset(diskPeriod)
	}
}

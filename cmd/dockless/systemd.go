package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/sdnotify"
	"github.com/dockless-ci/dockless/probe"
)

const (
	// heraldPeriod is how often systemd is told, if its watchdog does not ask for more.
	heraldPeriod = 15 * time.Second
	// readyPeriod is the same until it was told that the agent is ready.
	readyPeriod = 500 * time.Millisecond
)

// herald tells systemd what the agent's own page says of it, as the exec probe would:
// the watchdog gets its sign only while the page is live.
type herald struct {
	systemd  *sdnotify.Notifier
	page     *probe.Reader
	watchdog time.Duration // zero: systemd has none for us
	log      *slog.Logger

	ready, live bool // it was told; the page was at the last look
}

// announce starts telling systemd, if that wants to be told, until the returned
// function is called. The variables that say where do not reach the steps of jobs.
func (h *health) announce(ctx context.Context, c sdnotify.Config, log *slog.Logger) (stop func(), err error) {
	for _, name := range sdnotify.Names() {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("hiding %s: %w", name, err)
		}
	}
	if c.Socket == "" {
		return func() {}, nil
	}
	if h.path == "" {
		return nil, hint.With(usageError{errors.New("NOTIFY_SOCKET is set and DOCKLESS_PROBE_FILE is empty, so there is nothing to tell systemd")},
			"set DOCKLESS_PROBE_FILE, for example to /dev/shm/dockless, or make the unit one of Type=exec")
	}
	t := &herald{watchdog: c.Watchdog(), log: log, live: true}
	if t.page, err = probe.Open(h.path); err != nil {
		return nil, err
	}
	if t.systemd, err = sdnotify.Open(c); err != nil {
		return nil, errors.Join(err, t.page.Close())
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var telling sync.WaitGroup
	telling.Go(func() { t.run(ctx, h.told) })
	return func() {
		cancel()
		telling.Wait()
		warnIf(ctx, log, "cannot take leave of systemd", errors.Join(t.systemd.Close(), t.page.Close()))
	}, nil
}

// run tells until ctx ends. Told is closed when the agent takes no further job.
func (t *herald) run(ctx context.Context, told <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-told:
			told = nil
			t.tell(ctx, "STOPPING=1")
		case <-timer.C:
			t.tell(ctx)
			timer.Reset(t.period())
		}
	}
}

// period is a third of the watchdog's patience: one sign may be late, and one be lost.
func (t *herald) period() time.Duration {
	period := heraldPeriod
	if !t.ready {
		period = readyPeriod
	}
	if t.watchdog > 0 {
		period = min(period, t.watchdog/3)
	}
	return period
}

// tell sends what is said, and how the agent is.
func (t *herald) tell(ctx context.Context, said ...string) {
	live, ready := t.page.Ask(probe.IsLive, probe.Query{}), t.page.Ask(probe.IsReady, probe.Query{})
	status := ready
	switch {
	case !live.OK:
		status = live
	case t.watchdog > 0:
		said = append(said, "WATCHDOG=1")
	}
	if ready.OK && !t.ready {
		said = append(said, "READY=1")
	}
	err := t.systemd.Send(append(said, "STATUS="+status.Text)...)
	t.ready = t.ready || ready.OK && err == nil
	warnIf(ctx, t.log, "systemd was not told", err)
	if t.live && !live.OK {
		t.log.WarnContext(ctx, "the agent is not alive", "verdict", live.Text)
	}
	t.live = live.OK
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/sdnotify"
	"github.com/dockless-ci/dockless/probe"
)

const (
	// heraldPeriod is how often systemd is told, if its watchdog does not ask for more.
	heraldPeriod = 15 * time.Second
	// readyPeriod is the same at first, and doubles until it was told that the agent is
	// ready: then a unit is started late by no more than it took, and one that waits for
	// its server for half an hour does not fill the log of its manager.
	readyPeriod = 500 * time.Millisecond
)

// herald tells systemd what the page says of this process, as the exec probe would: the
// watchdog gets its sign only while it is live. Others on the page, if it is shared, are
// none of its unit's business: neither would it ever be ready with a dead one, nor is it
// helped by a restart.
type herald struct {
	systemd  *sdnotify.Notifier
	page     *probe.Reader
	watchdog time.Duration // zero: systemd has none for us
	log      *slog.Logger
	nap      nap

	pause       time.Duration // the last one before ready
	ready, live bool          // it was told; we were at the last look
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
		return nil, hint.With(cmdline.Unusable(errors.New("NOTIFY_SOCKET is set and DOCKLESS_PROBE_FILE is empty, so there is nothing to tell systemd")),
			"set DOCKLESS_PROBE_FILE, for example to /dev/shm/dockless, or make the unit one of Type=exec")
	}
	t := &herald{watchdog: c.Watchdog(), log: log, nap: newNap(slept), live: true}
	if t.page, err = probe.Open(h.path); err != nil {
		return nil, err
	}
	if t.systemd, err = sdnotify.Open(c); err != nil {
		return nil, errors.Join(err, t.page.Close())
	}
	// Go ends with code 2 what crashes or is aborted by the watchdog. Units are not
	// restarted after 2, which is ours for unusable settings; they are after a signal.
	debug.SetTraceback("crash")
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

// period is at most a third of the watchdog's patience: one sign may be late, and one
// be lost.
func (t *herald) period() time.Duration {
	period := heraldPeriod
	if !t.ready {
		t.pause = min(max(2*t.pause, readyPeriod), heraldPeriod)
		period = t.pause
	}
	if t.watchdog > 0 {
		period = min(period, t.watchdog/3)
	}
	return period
}

// tell sends what is said, and how the agent is.
func (t *herald) tell(ctx context.Context, said ...string) {
	own := probe.Query{Process: os.Getpid()}
	live, ready := t.page.Ask(probe.IsLive, own), t.page.Ask(probe.IsReady, own)
	status := ready
	if !live.OK {
		status = live
	}
	alive := t.nap.waking() || live.OK
	if alive && t.watchdog > 0 {
		said = append(said, "WATCHDOG=1")
	}
	if ready.OK && !t.ready {
		said = append(said, "READY=1")
	}
	err := t.systemd.Send(append(said, "STATUS="+status.Text)...)
	t.ready = t.ready || ready.OK && err == nil
	warnIf(ctx, t.log, "systemd was not told", err)
	if t.live && !alive {
		t.log.WarnContext(ctx, "the agent is not alive", "verdict", live.Text)
	}
	t.live = alive
}

// nap notices that the machine slept. Ages of beats go on meanwhile and timers do not:
// a loop that is well comes round when it would have, and looks late by the whole sleep.
type nap struct {
	slept func() time.Duration // since the machine was started
	known time.Duration        // of which we know
	until time.Time            // when the loops have had time to come round
}

// shortNap is one that no age of ours notices.
const shortNap = time.Second

func newNap(slept func() time.Duration) nap { return nap{slept: slept, known: slept()} }

// waking reports whether the machine has slept, and has been awake since then for no
// longer than the loop with the most patience may be silent.
func (n *nap) waking() bool {
	if slept := n.slept(); slept > n.known+shortNap {
		n.known, n.until = slept, time.Now().Add(agent.MaxPollSilence)
	}
	return time.Now().Before(n.until)
}

// slept is for how long the machine has slept since it was started.
func slept() time.Duration {
	var all, awake unix.Timespec
	if errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &all), unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake)) != nil {
		return 0
	}
	return time.Duration(all.Nano() - awake.Nano())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/probe"
)

// rhythm is how a dependency is asked whether it answers.
type rhythm struct {
	every time.Duration // while it does
	again time.Duration // while it does not
	bound time.Duration // of one question
	age   time.Duration // how long the watch may be silent: longer than every and bound
}

// dependencies is the rhythm for BuildKit and Podman. Every 20 s is often enough to be
// unready within half a minute and rare enough to stay below a thousandth of a core; 5 s
// is what buildkitd has for an answer on a loaded machine, and soon enough to be ready
// again. A watch that has not come round after 45 s, most of twice as long as it may
// take, stands still.
var dependencies = rhythm{every: 20 * time.Second, again: 5 * time.Second, bound: 5 * time.Second, age: 45 * time.Second}

// watch is the loop that asks one dependency and writes the answers into its slot.
type watch struct {
	name   string
	slot   *probe.Slot
	silent probe.Reason                // why the agent is not ready when there is no answer
	ask    func(context.Context) error // nil: there is no such dependency
	rhythm rhythm
}

// run asks until ctx ends. The loop beats when an answer, or the bound, has come: a
// question that hangs beyond it is no longer a matter of the dependency.
func (w watch) run(ctx context.Context, log *slog.Logger) {
	if w.ask == nil {
		w.slot.Set(probe.Stopped, probe.ReasonNone)
		return
	}
	w.slot.Allow(w.rhythm.age)
	defer w.slot.Set(probe.Stopped, probe.ReasonFinished)
	log = log.With("name", w.name)
	state := probe.Ready // and no word about it until that changes
	for {
		err := w.once(ctx)
		if ctx.Err() != nil {
			return
		}
		pause, now, reason := w.rhythm.every, probe.Ready, probe.ReasonIdle
		if err != nil {
			pause, now, reason = w.rhythm.again, probe.Live, w.reason(err)
		}
		w.slot.Set(now, reason)
		switch {
		case err != nil && state == probe.Ready:
			log.WarnContext(ctx, "dependency keeps the agent from being ready", "reason", reason.String(), "error", err)
		case err != nil:
			log.DebugContext(ctx, "dependency still keeps the agent from being ready", "reason", reason.String(), "error", err)
		case state != probe.Ready:
			log.InfoContext(ctx, "dependency is there again")
		}
		state = now
		if retry.Wait(ctx, pause) != nil {
			return
		}
	}
}

func (w watch) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.rhythm.bound, fmt.Errorf("no answer within %s", w.rhythm.bound))
	defer cancel()
	return w.ask(ctx)
}

func (w watch) reason(err error) probe.Reason {
	if buildxsetup.IsFull(err) {
		return probe.ReasonDisk
	}
	return w.silent
}

// askBuilder asks all nodes at once whether they answer and have room for a build.
// Builds go without some of several, so that the error is there when none does.
func (w *workshop) askBuilder(log *slog.Logger) func(context.Context) error {
	if w.builder == nil {
		return nil
	}
	away := make(strays)
	return func(ctx context.Context) error {
		errs := make([]error, len(w.builder.Nodes))
		var all sync.WaitGroup
		for i, n := range w.builder.Nodes {
			all.Go(func() {
				_, errs[i] = n.Ping(ctx)
				w.metrics.NodeUp(n.Name, errs[i] == nil)
				if errs[i] == nil {
					errs[i] = w.gate.Room(ctx, n)
				}
			})
		}
		all.Wait()
		if !slices.Contains(errs, nil) {
			return errors.Join(errs...)
		}
		for i, err := range errs {
			away.tell(ctx, w.builder.Nodes[i].Name, err, log)
		}
		return nil
	}
}

// strays are the nodes of which the log says that they take no builds while others do.
type strays map[string]bool

// tell logs what has changed for a node: one that is away stays so for days.
func (s strays) tell(ctx context.Context, node string, err error, log *slog.Logger) {
	switch away := err != nil; {
	case ctx.Err() != nil || away == s[node]:
		return
	case away:
		log.WarnContext(ctx, "a node of the builder takes no builds", "node", node, "error", err)
	default:
		log.InfoContext(ctx, "a node of the builder takes builds again", "node", node)
	}
	s[node] = err != nil
}

func (w *workshop) askPodman() func(context.Context) error {
	if w.podman == nil {
		return nil
	}
	return w.podman.Ping
}

// settleTime is when an agent that has booted is idle.
const settleTime = 2 * time.Second

// settle gives back what booting needed.
func settle(ctx context.Context, log *slog.Logger) {
	if retry.Wait(ctx, settleTime) == nil {
		warnIf(ctx, log, "cannot give memory back", releaseMemory())
	}
}

// warnIf logs an error that changes nothing for anybody.
func warnIf(ctx context.Context, log *slog.Logger, msg string, err error) {
	if err != nil {
		log.WarnContext(ctx, msg, "error", err) //nolint:sloglint // the callers pass constants
	}
}

package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// MaxStepSilence is how far apart the calls of [Config.Beat] are at most while a job
// goes on as it should. It is twice what a step may take to end that is told to: half
// a minute for one that cleans up ([cleanupTimeout]), ten seconds for its processes and
// five for their output.
const MaxStepSilence = 90 * time.Second

// lookPeriod is how often the supervisor looks at the steps: several times within
// [MaxStepSilence], so that one look at a step that is just ending does no harm.
const lookPeriod = 15 * time.Second

// supervise is the job's own watch, from its first record to its last. It ends
// whatever still runs when a canceled job has used up its grace; one that must stop at
// once is ended by its steps. And it beats, as long as every step is where it may be: a
// step may take three hours, but once its time is over or it was told to stop it has
// to end. Over is closed when the job has ended.
func (x *execution) supervise(ctx context.Context, end context.CancelCauseFunc, over <-chan struct{}) {
	defer x.beat(false)
	x.look()
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	var stop *job.Stop
	var graceOver <-chan time.Time
	for stopped := ctx.Done(); ; {
		select {
		case <-over:
			return
		case <-tick.C:
			x.look()
		case <-stopped:
			stopped = nil
			if stop = job.StopOf(ctx); stop.Grace > 0 {
				timer := time.NewTimer(max(stop.Grace-reportTime, stop.Grace/2))
				defer timer.Stop() // once: there is one stop
				graceOver = timer.C
			}
		case <-graceOver:
			end(fmt.Errorf("the job did not end within the %s it was given after: %w", stop.Grace, stop))
		}
	}
}

// look beats, unless a step does not end.
func (x *execution) look() {
	if name := x.overdue(); name == "" || x.reportIsFull() {
		x.beat(true)
	} else {
		x.log.Warn("a step whose time is over has not ended", "step", name)
	}
}

// overdue returns the name of a step whose context has ended while it still runs, or
// "". It takes the job's lock, on purpose: a job that hangs on it does not beat.
func (x *execution) overdue() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	for step, name := range x.watched {
		if step.Err() != nil {
			return name
		}
	}
	return ""
}

// reportIsFull reports whether output waits for a server that does not take it. The
// step that waits ends when the server is back; that is a matter of the report.
func (x *execution) reportIsFull() bool {
	w, ok := x.rep.(interface{ Waits() bool })
	return ok && w.Waits()
}

func (x *execution) beat(running bool) {
	if x.cfg.Beat != nil {
		x.cfg.Beat(running)
	}
}

// watch has the supervisor look at a step until the returned function is called.
func (x *execution) watch(step context.Context, name string) (stop func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.watched == nil {
		x.watched = make(map[context.Context]string)
	}
	x.watched[step] = name
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.watched, step)
	}
}

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

// lookPeriod is how often the supervisor looks at the job: several times within
// [MaxStepSilence], so that one look at a step that is just ending does no harm.
const lookPeriod = 15 * time.Second

// onTheWay is the job where no part of it is watched: between two, for milliseconds.
const onTheWay = "what comes between two steps"

// supervise is the job's own watch, from its first record to its last. It ends
// whatever still runs when a canceled job has used up its grace; one that must stop at
// once is ended by its steps. And it beats, as long as the job is where it may be. It is
// in a part that is watched, a step or what comes before and after all of them, which may
// take three hours, but has to end once its time is over or it was told to stop; or it is
// on its way from one to the next. Over is closed when the job has ended.
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

// look beats, unless the job does not go on. A part whose output waits for a server that
// does not take it goes on when the server is back; that is a matter of the report.
func (x *execution) look() {
	if part := x.stuck(); part == "" || x.rep.Waits() {
		x.beat(true)
	} else {
		x.log.Warn("a part of the job whose time is over has not ended", "part", part)
	}
}

// stuck returns the name of a part whose context has ended while it still runs, or of the
// way to the next one when two looks have found the job there, or "". It takes the job's
// lock, on purpose: a job that hangs on it does not beat.
func (x *execution) stuck() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	for part, name := range x.watched {
		if part.Err() != nil {
			return name
		}
	}
	if len(x.watched) > 0 {
		return ""
	}
	if x.between++; x.between > 1 {
		return onTheWay
	}
	return ""
}

func (x *execution) beat(running bool) {
	if x.cfg.Beat != nil {
		x.cfg.Beat(running)
	}
}

// watch has the supervisor look at a part of the job, which ends soon after its context
// has, until the returned function is called.
func (x *execution) watch(part context.Context, name string) (stop func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.watched == nil {
		x.watched = make(map[context.Context]string)
	}
	x.watched[part], x.between = name, 0
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.watched, part)
		x.between = 0
	}
}

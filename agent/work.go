package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// work is one job in our hands.
type work struct {
	message        *job.Message
	unacknowledged ado.MessageID // is deleted when the job starts; zero: it is already

	done chan struct{} // closed when nothing of the job runs any more

	mu       sync.Mutex
	stopped  *job.Stop     // the first order to end early
	leaving  chan struct{} // closed when the agent leaves, whatever grace the job has
	left     bool          // leaving is closed
	cancel   func(*job.Stop)
	reporter *ado.Reporter
}

func newWork(m *job.Message) *work {
	return &work{message: m, done: make(chan struct{}), leaving: make(chan struct{})}
}

// stop ends the job early; the first reason counts, also when the job has not
// begun. A shutdown also ends the grace of an earlier cancellation.
func (w *work) stop(reason *job.Stop) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reason.Reason == job.StopShutdown && !w.left {
		w.left = true
		close(w.leaving)
	}
	if w.stopped != nil {
		return
	}
	w.stopped = reason
	if w.cancel != nil {
		w.cancel(reason)
	}
}

// begun connects stop with the job's context.
func (w *work) begun(cancel func(*job.Stop)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel = cancel
	if w.stopped != nil {
		cancel(w.stopped)
	}
}

func (w *work) setFeedInterval(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reporter != nil {
		w.reporter.SetFeedInterval(d)
	}
}

func (w *work) setReporter(r *ado.Reporter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reporter = r
}

// run takes one job from its message to its end. The lock's context outlives the
// job's: while it lives, the request is ours and may be reported.
//
//	lock  ── ends when the lock is lost, or when everything is reported
//	└─ job ── ends also when the job is canceled or the agent leaves
func (s *service) run(ctx context.Context, w *work) {
	m := w.message
	log := s.log.With("job_id", m.JobID, "request_id", m.RequestID)
	lock, loseLock := context.WithCancelCause(context.WithoutCancel(ctx))
	defer loseLock(errOver)
	jobCtx, endJob := context.WithCancelCause(lock)
	defer endJob(errOver)
	w.begun(func(reason *job.Stop) { endJob(reason) })

	log.InfoContext(ctx, "job received", "job", m.JobDisplayName, "steps", len(m.Steps))
	request, err := s.firstRenewal(jobCtx, m)
	switch {
	case err != nil && jobCtx.Err() == nil:
		log.ErrorContext(ctx, "job is dropped: its request could not be renewed", "error", err)
		s.deps.jobEnded(m.JobID, job.Abandoned)
		return
	case err != nil:
		log.InfoContext(ctx, "job ended before it began", "reason", job.StopOf(jobCtx))
		s.canceledEarly(lock, w)
		s.deps.jobEnded(m.JobID, job.Canceled)
		return
	}
	if err := s.state.remember(Leftover{JobID: m.JobID, JobName: m.JobDisplayName, RequestID: m.RequestID, Started: time.Now()}); err != nil {
		log.ErrorContext(ctx, "job would not be found after a crash", "error", err)
	}
	var renewing sync.WaitGroup
	held := s.heldUntil(request)
	renewing.Go(func() { s.keepLocked(lock, m.RequestID, held, loseLock) })
	result := s.execute(lock, jobCtx, w, s.waited(request))
	loseLock(errOver) // stops the renewal; a lock that was lost before stays lost
	renewing.Wait()
	if err := s.state.forget(); err != nil {
		log.ErrorContext(ctx, "job will look unfinished at the next start", "error", err)
	}
	if isLost(lock) {
		log.WarnContext(ctx, "job ended without a report: it is no longer ours", "cause", context.Cause(lock))
		s.deps.jobEnded(m.JobID, job.Abandoned)
		return
	}
	if !m.Plan.CompletedByEvent() {
		if reason := job.StopOf(jobCtx); reason != nil && reason.Reason == job.StopCanceled {
			result = job.Canceled
		}
		result = s.finish(lock, m, result)
	}
	log.InfoContext(ctx, "job ended", "result", result)
	s.deps.jobEnded(m.JobID, result)
}

// canceledEarly completes a job that was ended before it began. It has no
// records: the service may not even count it as running.
func (s *service) canceledEarly(lock context.Context, w *work) {
	if !w.message.Plan.CompletedByEvent() {
		_ = s.finish(lock, w.message, job.Canceled) // it has logged what failed
		return
	}
	s.report(lock, w, func(*ado.Reporter) job.Result { return job.Canceled })
}

// execute runs the job, which has waited, and reports it. lock bounds the report.
func (s *service) execute(lock, jobCtx context.Context, w *work, wait job.Wait) job.Result {
	return s.report(lock, w, func(r *ado.Reporter) job.Result {
		defer context.AfterFunc(jobCtx, r.Hurry)() // a step that waits for the report could not end
		tasks, err := ado.NewTaskClient(w.message, s.jobOptions())
		if err != nil {
			s.log.ErrorContext(lock, "job cannot fetch tasks", "job_id", w.message.JobID, "error", err)
		}
		tests, err := ado.NewTestClient(w.message, s.jobOptions())
		if err != nil {
			s.log.ErrorContext(lock, "job cannot publish tests", "job_id", w.message.JobID, "error", err)
		}
		builds, err := ado.NewBuildClient(w.message, s.jobOptions())
		if err != nil {
			s.log.ErrorContext(lock, "job cannot publish artifacts", "job_id", w.message.JobID, "error", err)
		}
		return s.supervise(jobCtx, w, Conn{
			Reporter: r, Tasks: tasks, Builds: builds, Tests: tests, AgentID: s.agent.ID, AgentName: s.agent.Name,
			PoolID: s.pool.ID, PoolName: s.pool.Name, Once: s.config.Once, Wait: wait,
		})
	})
}

// report opens the reporter, lets body produce a result, and completes the job
// with it. It returns the result that the server was told.
func (s *service) report(lock context.Context, w *work, body func(*ado.Reporter) job.Result) job.Result {
	log := s.log.With("job_id", w.message.JobID, "request_id", w.message.RequestID)
	if s.onPremises {
		s.rewriteAddresses(w.message)
	}
	client, err := ado.NewJobClient(w.message, s.jobOptions())
	if err != nil {
		log.ErrorContext(lock, "job cannot be reported", "error", err)
		return job.Failed
	}
	reporter := ado.OpenReporter(lock, ado.ReporterConfig{
		Client: client, Message: w.message, Log: log, ShuttingDown: s.leaving,
		SpoolDir: filepath.Join(s.config.StateDir, "spool"), SpoolLimit: ado.DefaultSpoolLimit,
		Beat: s.deps.Health.report,
	})
	defer reporter.Close()
	// A step that waits for room in the report is let go when the job is no longer ours.
	defer context.AfterFunc(lock, func() {
		if isLost(lock) {
			reporter.Close()
		}
	})()
	w.setReporter(reporter)
	defer w.setReporter(nil)
	result := body(reporter)
	if isLost(lock) {
		return result
	}
	ctx, cancel := s.completion(lock)
	defer cancel()
	switch err := reporter.Complete(ctx, result); {
	case errors.Is(err, ado.ErrOutputsLost):
		log.ErrorContext(ctx, "job failed because its outputs are lost", "error", err)
		return result.Merge(job.Failed)
	case errors.Is(err, ado.ErrPlanGone):
		log.ErrorContext(ctx, "job could not be completed: it is over on the server", "error", err)
		return job.Abandoned
	case err != nil:
		log.ErrorContext(ctx, "job could not be completed, and the server will abandon it", "error", err)
		return job.Abandoned
	}
	return result
}

// jobOptions are those of the requests with the job's token.
func (s *service) jobOptions() ado.Options {
	o := s.options
	o.Timeout = ado.DefaultTimeout
	return o
}

// completion bounds the end of a job: generously, and by what is left of the
// drain budget once the agent has to leave, also when it is told so meanwhile.
func (s *service) completion(lock context.Context) (context.Context, context.CancelFunc) {
	started, bound := time.Now(), s.timings.complete
	if until := s.end.due().until; !until.IsZero() {
		bound = min(bound, max(time.Until(until), 0)+s.timings.completeStop)
	}
	ctx, cancel := context.WithTimeoutCause(lock, bound, fmt.Errorf("reporting the end of the job took longer than %s", bound))
	ctx, hurry := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if s.budgetOver(ctx, started) {
			hurry(errors.New("reporting the end of the job outlasted the drain budget"))
		}
	})
	return ctx, func() {
		hurry(errOver)
		cancel()
		watching.Wait()
	}
}

// budgetOver waits until the drain budget and what the report has after it are
// over, and reports whether they were before ctx ended. A job that was canceled
// at the deadline may have taken its time to end: its report has its own all the
// same, from when it started.
func (s *service) budgetOver(ctx context.Context, started time.Time) bool {
	for {
		d := s.end.due()
		var over <-chan time.Time
		if !d.until.IsZero() {
			end := d.until
			if started.After(end) {
				end = started
			}
			timer := time.NewTimer(time.Until(end.Add(s.timings.completeStop)))
			defer timer.Stop() // an order follows another one a few times at most
			over = timer.C
		}
		select {
		case <-ctx.Done():
			return false
		case <-over:
			return true
		case <-d.changed:
		}
	}
}

// supervise calls the job function and does not wait for it without end: a job
// that hangs after it was told to stop fails, and ends the agent, because
// nothing can be said about what it still does.
func (s *service) supervise(ctx context.Context, w *work, c Conn) job.Result {
	type outcome struct {
		result job.Result
		err    error
	}
	ended := make(chan outcome, 1) // never closed; the one send does not block
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				// The value may quote secrets; its type and the stack do not.
				o = outcome{job.Failed, fmt.Errorf("the job function panicked with a %T", p)}
				s.log.ErrorContext(ctx, "job function panicked", "job_id", w.message.JobID, "stack", string(debug.Stack()))
			}
			ended <- o
		}()
		o.result, o.err = s.runs(ctx, w.message, c)
	}()
	var o outcome
	select {
	case o = <-ended:
	case <-ctx.Done():
		timer := time.NewTimer(s.killAfter(job.StopOf(ctx)))
		defer timer.Stop()
		for waiting, leaving := true, w.leaving; waiting; {
			select {
			case o = <-ended:
				waiting = false
			case <-leaving:
				leaving = nil
				timer.Reset(s.timings.shutdownKill)
			case <-timer.C:
				waiting = false
				o.err = fmt.Errorf("job %s still ran long after it was told to stop", w.message.JobID)
				s.mu.Lock()
				s.fatal = o.err
				s.mu.Unlock()
			}
		}
	}
	switch {
	case o.err != nil && ctx.Err() != nil:
		s.log.ErrorContext(ctx, "job ended early and without a result", "job_id", w.message.JobID, "error", o.err)
		return o.result.Merge(job.Canceled)
	case o.err != nil:
		s.log.ErrorContext(ctx, "job ended without a result", "job_id", w.message.JobID, "error", o.err)
		return o.result.Merge(job.Failed)
	case o.result == "":
		return job.Succeeded
	}
	return o.result
}

// killAfter returns how long a job may take to end.
func (s *service) killAfter(reason *job.Stop) time.Duration {
	if reason.Reason == job.StopCanceled {
		return reason.Grace + s.timings.cancelKill
	}
	return s.timings.shutdownKill
}

// finish ends the request of a plan older than version 8 (protocol §7.10) and
// returns the result that the server has then.
func (s *service) finish(ctx context.Context, m *job.Message, result job.Result) job.Result {
	ctx, cancel := s.completion(context.WithoutCancel(ctx))
	defer cancel()
	err := retry.Do(ctx, retry.Policy{
		Attempts: 5, First: s.timings.finishPause,
		Retryable: func(err error) bool { return !errors.Is(err, ado.ErrLockLost) },
	}, func(ctx context.Context) error { return s.client.FinishRequest(ctx, m.RequestID, result) })
	if err != nil {
		s.log.ErrorContext(ctx, "request could not be finished", "request_id", m.RequestID, "error", err)
		return job.Abandoned
	}
	return result
}

// leaving reports whether this agent takes no further job.
func (s *service) leaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end.told() || s.taken
}

// rewriteAddresses points what a server on premises says about itself to the
// host that we reach it at (protocol §1.1).
func (s *service) rewriteAddresses(m *job.Message) {
	for i, e := range m.Resources.Endpoints {
		if e.IsSystemConnection() {
			m.Resources.Endpoints[i].URL = ado.AtConfiguredHost(e.URL, s.config.URL)
		}
	}
	for _, name := range []string{"system.collectionUri", "system.teamFoundationCollectionUri", "system.taskDefinitionsUri"} {
		if v, ok := m.Variables[name]; ok {
			v.Value = ado.AtConfiguredHost(v.Value, s.config.URL)
			m.Variables[name] = v
		}
	}
}

package ado

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// Reporter tells the server how one job is doing: records, live lines, log pages
// and attachments, and at last the result. It sends in the background and holds
// a bounded amount: [Reporter.WriteLine] waits when the stored log cannot keep
// up. Its methods may be called concurrently. A failure to report never fails
// the job, but for output variables that are lost ([Reporter.Complete]).
type Reporter struct {
	client       *JobClient
	log          *slog.Logger
	byEvent      bool
	shuttingDown func() bool
	pause        time.Duration // between attempts to complete

	records *recordQueue
	feed    *feed
	pages   *pages

	cancel context.CancelCauseFunc
	done   sync.WaitGroup
}

// ReporterConfig is what a [Reporter] needs. Every field is required.
type ReporterConfig struct {
	Client  *JobClient
	Message *job.Message
	Log     *slog.Logger
	// ShuttingDown is asked at the end whether this agent takes no further job.
	ShuttingDown func() bool
}

// errReporterClosed is why requests of a closed reporter end.
var errReporterClosed = errors.New("the reporter was closed")

// OpenReporter starts reporting for one job; the caller closes the reporter. It
// outlives ctx, whose end is what is left to report.
func OpenReporter(ctx context.Context, c ReporterConfig) *Reporter {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &Reporter{
		client: c.Client, log: c.Log, cancel: cancel,
		byEvent: c.Message.Plan.CompletedByEvent(), shuttingDown: c.ShuttingDown, pause: completePause,
	}
	r.records = newRecordQueue(c.Client.UpdateRecords, c.Log)
	r.feed = newFeed(c.Client.SendLines, c.Log)
	r.pages = newPages(c.Message.JobID.Record(), r.upload, c.Log)
	r.done.Go(func() { r.records.run(ctx) })
	r.done.Go(func() { r.feed.run(ctx) })
	for range uploadWorkers {
		r.done.Go(func() { r.pages.run(ctx) })
	}
	return r
}

// UpdateRecord queues a change of a record. Changes of one record are merged,
// and sent at most every half second. Completing a record ends its log.
func (r *Reporter) UpdateRecord(record job.Record) {
	if record.State == job.Completed {
		r.pages.finish(record.ID)
	}
	r.records.add(record)
}

// WriteLine adds a masked line, without its newline, to the live lines and the
// stored log of record, and to the stored log of the job. It keeps nothing of
// line after it returned. A line longer than a mebibyte is continued on the next
// one. After [Reporter.Close] lines are dropped.
func (r *Reporter) WriteLine(record job.RecordID, line []byte) {
	for {
		part := line[:min(len(line), maxLine)]
		if number := r.pages.write(record, part); number > 0 {
			r.feed.add(record, number, part)
		}
		if line = line[len(part):]; len(line) == 0 {
			return
		}
	}
}

// Attach queues a file of record. It waits while more than a few mebibytes of
// attachments are queued.
func (r *Reporter) Attach(record job.RecordID, a job.Attachment) { r.pages.attach(record, a) }

// SetFeedInterval changes how often live lines are sent, as a job metadata
// message asks. Zero and less return to the default.
func (r *Reporter) SetFeedInterval(d time.Duration) { r.feed.setInterval(d) }

const (
	// feedDrain bounds the last live lines, which nobody misses: they are in
	// the stored log.
	feedDrain = 10 * time.Second
	// completeAttempts and completePause are those of protocol §7.10.
	completeAttempts = 5
	completePause    = 5 * time.Second
)

// Complete sends everything that is queued, in the order of protocol §7.11, and
// ends the job with result, if the plan is one that ends by an event (version 8
// and later); the request of an older plan is the caller's to finish. When
// output variables could not be delivered, the job ends as failed and the error
// is [ErrOutputsLost]. Other errors mean that the server was not told; when the
// plan is over, [ErrPlanGone]. ctx bounds all of it. Complete is called once.
func (r *Reporter) Complete(ctx context.Context, result job.Result) error {
	feedCtx, cancel := context.WithTimeoutCause(ctx, feedDrain, fmt.Errorf("the last live lines took longer than %s", feedDrain))
	r.feed.drain(feedCtx)
	cancel()
	uploadCtx, cancel := uploadBound(ctx)
	if err := r.pages.drain(uploadCtx); err != nil {
		r.log.WarnContext(ctx, "logs and attachments are incomplete", "error", err)
	}
	cancel()
	var lost error
	if err := r.records.drain(ctx); err != nil {
		r.log.WarnContext(ctx, "records are incomplete", "error", err)
		lost = fmt.Errorf("%w: %w", ErrOutputsLost, err)
	}
	if r.records.holdsOutputs() {
		if lost == nil {
			lost = fmt.Errorf("%w: the server refused them", ErrOutputsLost)
		}
		result = result.Merge(job.Failed)
	} else {
		lost = nil
	}
	if !r.byEvent {
		return lost
	}
	return errors.Join(lost, r.complete(ctx, result))
}

// uploadBound leaves a third of the time for records and the event, which matter
// more than the rest of a log.
func uploadBound(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	bound := time.Until(end) * 2 / 3
	return context.WithTimeoutCause(ctx, bound, fmt.Errorf("uploads took longer than %s", bound.Round(time.Second)))
}

// complete posts the event. An attempt that broke may have arrived all the same:
// a plan that is over by then was ended by us.
func (r *Reporter) complete(ctx context.Context, result job.Result) error {
	mayHaveArrived := false
	return retry.Do(ctx, retry.Policy{
		Attempts: completeAttempts, First: r.pause,
		Retryable: func(err error) bool { return !errors.Is(err, ErrPlanGone) },
		Notify: func(err error, attempt int, pause time.Duration) {
			r.log.WarnContext(ctx, "completing the job will be repeated", "error", err, "attempt", attempt, "pause", pause)
		},
	}, func(ctx context.Context) error {
		err := r.client.Complete(ctx, result, r.shuttingDown())
		if errors.Is(err, ErrPlanGone) && mayHaveArrived {
			return nil
		}
		if err != nil {
			status, answered := errors.AsType[*StatusError](err)
			mayHaveArrived = mayHaveArrived || !answered || status.Code/100 == 5
		}
		return err
	})
}

// Close stops reporting and waits for what is under way. What is still queued is
// dropped: a job that is no longer ours is not reported.
func (r *Reporter) Close() {
	r.cancel(errReporterClosed)
	r.pages.close()
	r.done.Wait()
}

// upload sends one page or attachment.
func (r *Reporter) upload(ctx context.Context, u upload) error {
	if u.attachment != nil {
		return r.client.Attach(ctx, u.record, u.attachment.Type, u.attachment.Name, bytesReader(u.attachment.Content))
	}
	log, err := r.client.CreateLog(ctx, u.record)
	if err != nil {
		return err
	}
	if err := r.client.AppendLog(ctx, log.ID, u.page.reader()); err != nil {
		return err
	}
	r.records.add(job.Record{ID: u.record, Log: &job.LogReference{ID: int(log.ID), Location: log.Location}})
	return nil
}

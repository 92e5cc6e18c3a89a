package ado

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// Reporter tells the server how one job is doing: records, live lines, log pages
// and attachments, and at last the result. It sends in the background, again and
// again while the server is away, and holds a bounded amount in memory, and of log
// text on disk: [Reporter.WriteLine] waits when the stored log cannot keep up. Its
// methods may be called concurrently. A failure to report never fails the job, but
// for output variables that are lost ([Reporter.Complete]).
type Reporter struct {
	client       *JobClient
	log          *slog.Logger
	byEvent      bool
	shuttingDown func() bool
	pause        time.Duration // between attempts to complete

	records *recordQueue
	details *recordQueue // of the timelines of steps
	feed    *feed
	pages   *pages
	rounds  *rounds // of the loops that send them

	cancel     context.CancelCauseFunc
	endUploads context.CancelCauseFunc // ends the uploads under way
	done       sync.WaitGroup
}

// ReporterConfig is what a [Reporter] needs. Every field is required but the
// last three.
type ReporterConfig struct {
	Client  *JobClient
	Message *job.Message
	Log     *slog.Logger
	// ShuttingDown is asked at the end whether this agent takes no further job.
	ShuttingDown func() bool
	// SpoolDir is where masked log text waits that no longer fits in memory while
	// the server is away, in a file without a name. It is made when it is needed;
	// empty is the system's directory for temporary files.
	SpoolDir string
	// SpoolLimit bounds that file, in bytes, usually [DefaultSpoolLimit]. Zero
	// keeps everything in memory, and steps wait sooner.
	SpoolLimit int64
	// Beat is told that the report goes on: with true when everything that sends it
	// has come round, at least every [MaxReportSilence] whatever the server does, and
	// with false once when the reporter is closed. It must not block. Nil: nobody.
	Beat func(open bool)
}

// errUploadsOver is why uploads end that took too long: the job is completed
// without them.
var errUploadsOver = errors.New("the job is completed without the rest of its logs")

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
	r.details = newRecordQueue(c.Client.UpdateRecords, c.Log)
	r.feed = newFeed(c.Client.SendLines, c.Log)
	r.pages = newPages(c.Message.JobID.Record(), r.upload, spool{dir: c.SpoolDir, limit: c.SpoolLimit}, c.Log)
	r.rounds = newRounds(c.Beat)
	r.loop(ctx, r.records.run)
	r.loop(ctx, r.details.run)
	r.loop(ctx, r.feed.run)
	uploads, endUploads := context.WithCancelCause(ctx)
	r.endUploads = endUploads
	for range uploadWorkers {
		r.loop(uploads, r.pages.run)
	}
	return r
}

// loop starts one of the reporter's loops, which attends while it runs.
func (r *Reporter) loop(ctx context.Context, run func(context.Context)) {
	lap := r.rounds.join()
	r.done.Go(func() {
		defer lap.leave()
		run(Attended(ctx, lap.turn))
	})
}

// Waits reports whether a line or a file waits for room in the report, because the
// server does not take it: a step that does so cannot end.
func (r *Reporter) Waits() bool { return r.pages.waits() }

// UpdateRecord queues a change of a record. Changes of one record are merged,
// and sent at most every half second. Completing a record ends its log. Records
// in the timeline of a step are dropped when the server does not take them soon.
func (r *Reporter) UpdateRecord(record job.Record) {
	if record.Timeline != "" {
		r.details.add(record)
		return
	}
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
// attachments are queued; when ctx ends first, the file is dropped.
func (r *Reporter) Attach(ctx context.Context, record job.RecordID, a job.Attachment) {
	r.pages.attach(ctx, record, a)
}

// Hurry says that the job was told to stop: from now on nobody waits for room in
// the report for longer than ten seconds. A line or file that has none by then is
// dropped, because a step that waits for the server cannot end.
func (r *Reporter) Hurry() { r.pages.hurry() }

// SetFeedInterval changes how often live lines are sent, as a job metadata
// message asks. Zero and less return to the default.
func (r *Reporter) SetFeedInterval(d time.Duration) { r.feed.setInterval(d) }

const (
	// feedDrain bounds the last live lines, which nobody misses: they are in
	// the stored log.
	feedDrain = 10 * time.Second
	// detailDrain bounds the last records below steps, which the job's result does
	// not need: a few hundred of them.
	detailDrain = 10 * time.Second
	// completeAttempts and completePause are those of protocol §7.10. While the
	// server is away there are more attempts, whose pauses grow sixfold: to half a
	// minute, as for everything else that is reported.
	completeAttempts = 5
	completePause    = 5 * time.Second
	completeGrowth   = 6
)

// Complete sends everything that is queued, in the order of protocol §7.11, and
// ends the job with result, if the plan is one that ends by an event (version 8
// and later); the request of an older plan is the caller's to finish. When
// output variables could not be delivered, the job ends as failed and the error
// is [ErrOutputsLost]. Other errors mean that the server was not told; when the
// plan is over, [ErrPlanGone]. ctx bounds all of it and needs a deadline: until
// then Complete waits for a server that is away. Complete is called once.
func (r *Reporter) Complete(ctx context.Context, result job.Result) error {
	lap := r.rounds.join() // the loop that sends what is left
	defer lap.leave()
	ctx = Attended(ctx, lap.turn)
	r.client.conn.throttle.hurry()
	feedCtx, cancel := share(ctx, feedShare, feedDrain, "the last live lines")
	r.feed.drain(feedCtx)
	cancel()
	uploadCtx, cancel := share(ctx, uploadShare, unbounded, "uploads")
	if err := r.pages.drain(uploadCtx); err != nil {
		r.log.WarnContext(ctx, "logs and attachments are incomplete", "error", err)
		r.pages.close() // later ones would come after the event
		r.endUploads(errUploadsOver)
	}
	cancel()
	recordCtx, cancel := share(ctx, recordShare, unbounded, "records")
	err := r.records.drain(recordCtx)
	cancel()
	if err != nil {
		r.log.WarnContext(ctx, "records are incomplete", "error", err)
	}
	detailCtx, cancel := share(ctx, detailShare, detailDrain, "the last records below steps")
	if err := r.details.drain(detailCtx); err != nil {
		r.log.WarnContext(ctx, "records below steps are incomplete", "error", err)
	}
	cancel()
	var lost error
	if r.records.holdsOutputs() {
		if err == nil {
			err = errors.New("the server refused them")
		}
		lost = fmt.Errorf("%w: %w", ErrOutputsLost, err)
		result = result.Merge(job.Failed)
	}
	if !r.byEvent {
		return lost
	}
	return errors.Join(lost, r.complete(ctx, result))
}

// Each part of the end may take its share of the time that is left, so that the
// event, which matters most, gets its turn: of ten minutes, more than one.
const (
	feedShare   = 1.0 / 4
	uploadShare = 2.0 / 3
	recordShare = 2.0 / 3
	detailShare = 1.0 / 4
	unbounded   = time.Duration(math.MaxInt64)
)

// share bounds what by a part of the time that ctx has left, and by most.
func share(ctx context.Context, part float64, most time.Duration, what string) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		most = min(most, time.Duration(float64(time.Until(end))*part))
	}
	if most == unbounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, most, fmt.Errorf("%s took longer than %s", what, most.Round(time.Millisecond)))
}

// complete posts the event until it is taken. An attempt that broke may have
// arrived all the same: a plan that is over by then was ended by us.
func (r *Reporter) complete(ctx context.Context, result job.Result) error {
	arrived := false
	for attempt := 1; ; attempt++ {
		err := r.client.Complete(ctx, result, r.shuttingDown())
		switch {
		case err == nil, errors.Is(err, ErrPlanGone) && arrived:
			return nil
		case errors.Is(err, ErrPlanGone), ctx.Err() != nil:
			return err
		case attempt >= completeAttempts && !IsOutage(err):
			return fmt.Errorf("after %d attempts: %w", attempt, err)
		}
		arrived = arrived || mayHaveArrived(err)
		pause := within(ctx, pauseAfter(err, max(attempt-completeAttempts+2, 1), r.pause, completeGrowth*r.pause))
		r.log.WarnContext(ctx, "completing the job will be repeated", "error", err, "attempt", attempt, "pause", pause)
		if werr := rest(ctx, pause); werr != nil {
			return fmt.Errorf("%w (last error: %w)", werr, err)
		}
	}
}

// Close stops reporting and waits for what is under way. What is still queued is
// dropped, also from the disk: a job that is no longer ours is not reported. It
// may be called more than once.
func (r *Reporter) Close() {
	r.pages.close() // first, so that nothing is queued again because of the next line
	r.endUploads(errReporterClosed)
	r.cancel(errReporterClosed)
	r.done.Wait()
	r.rounds.end()
	r.pages.closeSpool()
}

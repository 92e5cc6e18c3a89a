package ado

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

const (
	// recordPeriod and recordBatch are those of protocol §7.3.
	recordPeriod = 500 * time.Millisecond
	recordBatch  = 25
	// recordPause lets changes that belong together travel together: the job
	// and its first step start within microseconds.
	recordPause = 5 * time.Millisecond
	// recordPauseMax is the longest pause between attempts of one batch, which
	// start recordPeriod apart and double: as for uploads.
	recordPauseMax = 30 * time.Second
	// detailAttempts is how often in a row the timeline of a step may fail before
	// what is queued for it is dropped: a few seconds, in which a server restarts,
	// and not so long that the timelines of other steps wait for one that is broken.
	detailAttempts = 5
)

// recordQueue merges changes of records and sends them in batches. The first
// change after a quiet time leaves almost at once, the next ones half a second
// later.
//
// The job's own timeline and those of its steps have a queue each: whatever becomes
// of a step's, and however much is in it, the job's own records go on.
type recordQueue struct {
	send func(context.Context, []job.Record) error
	log  *slog.Logger
	wake chan struct{} // holds one element while there may be something to send; never closed
	busy chan struct{} // holds one element while a batch is under way

	mu      sync.Mutex
	pending map[recordKey]job.Record
	order   []recordKey             // of pending, oldest first
	known   map[recordKey]bool      // the server has them
	failing bool                    // the last batch failed and this was logged
	ending  bool                    // drain sends what is left; run stays out of its way
	endRun  context.CancelCauseFunc // ends the request that run has under way
	lost    bool                    // a record with output variables was refused for good
	failed  int                     // attempts in a row at timelines of steps
}

// recordKey tells records apart: steps choose the ids of what they report in
// timelines of their own.
type recordKey struct {
	timeline job.TimelineID
	id       job.RecordID
}

func keyOf(r job.Record) recordKey { return recordKey{r.Timeline, r.ID} }

func newRecordQueue(send func(context.Context, []job.Record) error, log *slog.Logger) *recordQueue {
	return &recordQueue{
		send: send, log: log, pending: make(map[recordKey]job.Record), known: make(map[recordKey]bool),
		wake: make(chan struct{}, 1), busy: make(chan struct{}, 1),
	}
}

func (q *recordQueue) add(r job.Record) {
	q.mu.Lock()
	key := keyOf(r)
	old, known := q.pending[key]
	if known {
		r = old.Merge(r)
	} else {
		q.order = append(q.order, key)
	}
	q.pending[key] = r
	q.mu.Unlock()
	q.signal()
}

func (q *recordQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// errDraining is why a request of run ends: drain sends its batch again, which is
// a merge and does no harm twice.
var errDraining = errors.New("the last records are being sent")

// run sends until ctx ends or drain takes over.
func (q *recordQueue) run(ctx context.Context) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	q.mu.Lock()
	q.endRun = end
	q.mu.Unlock()
	failures := 0
	for {
		if awaken(ctx, q.wake) != nil || rest(ctx, recordPause) != nil || q.drains() {
			return
		}
		more, err := q.flush(ctx) // flush logs its error
		pause := recordPeriod - recordPause
		if failures++; err == nil {
			failures = 0
		} else {
			pause = pauseAfter(err, failures, recordPeriod, recordPauseMax)
		}
		if more {
			q.signal()
		}
		if rest(ctx, pause) != nil {
			return
		}
	}
}

func (q *recordQueue) drains() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ending
}

// drain sends everything, with the pauses of run after failures. It returns why
// it could not: the plan is over, or ctx has ended. It is the last to send: what
// run has under way comes back into the queue, and with it what holdsOutputs sees.
func (q *recordQueue) drain(ctx context.Context) error {
	q.mu.Lock()
	q.ending = true
	if q.endRun != nil {
		q.endRun(errDraining)
	}
	q.mu.Unlock()
	for failures := 0; ; {
		more, err := q.flush(ctx)
		switch {
		case err == nil && !more:
			return nil
		case err == nil:
			failures = 0
			continue
		case errors.Is(err, ErrPlanGone), errors.Is(err, ErrLockLost):
			return err
		}
		failures++
		if werr := rest(ctx, within(ctx, pauseAfter(err, failures, recordPeriod, recordPauseMax))); werr != nil {
			return fmt.Errorf("%w (last error: %w)", werr, err)
		}
	}
}

// flush sends one batch. A batch that fails goes back in front, under whatever
// was queued meanwhile. more reports whether something is left.
func (q *recordQueue) flush(ctx context.Context) (more bool, err error) {
	if err := occupy(ctx, q.busy); err != nil {
		return true, err
	}
	defer func() { <-q.busy }()
	batch := q.take()
	if len(batch) == 0 {
		return false, nil
	}
	err = q.send(ctx, batch)
	if err == nil {
		q.learn(batch)
	}
	if refusedForGood(err) {
		batch, err = q.sift(ctx, batch)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		q.failed = 0
	} else if timeline := batch[0].Timeline; timeline != "" && ctx.Err() == nil {
		if q.failed++; !IsOutage(err) || q.failed == detailAttempts {
			q.log.WarnContext(ctx, "records below a step are dropped", "timeline_id", timeline, "records", len(batch)+q.forget(timeline), "error", err)
			err, q.failed = nil, 0
		}
	}
	if err != nil {
		q.restore(batch)
		if !q.failing && ctx.Err() == nil {
			q.log.WarnContext(ctx, "records will be sent again", "error", err)
		}
	} else if q.failing {
		q.log.InfoContext(ctx, "records are sent again")
	}
	q.failing = err != nil
	return len(q.order) > 0, err
}

// refusedForGood reports whether the server objects to what was sent, rather
// than to the moment or to who sent it. The page of a proxy objects to nothing.
func refusedForGood(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.Excerpt == "" && (status.Code == http.StatusBadRequest || status.Code == http.StatusConflict || status.Code == http.StatusUnprocessableEntity) && !errors.Is(err, ErrPlanGone)
}

// sift sends the records of a batch that was refused one by one, so that one bad
// record does not hold up the others for the rest of the job. It drops what is
// refused again, and returns what has to be tried later: everything from the
// first other failure on.
func (q *recordQueue) sift(ctx context.Context, batch []job.Record) (left []job.Record, err error) {
	for i, r := range batch {
		err := q.send(ctx, batch[i:i+1])
		switch {
		case refusedForGood(err):
			q.log.WarnContext(ctx, "a record was refused and is dropped", "record_id", r.ID, "error", err)
			q.mu.Lock()
			q.lost = q.lost || len(r.Variables) > 0
			q.mu.Unlock()
		case err != nil:
			return batch[i:], err
		default:
			q.learn(batch[i : i+1])
		}
	}
	return nil, nil
}

// learn notes that the server has the records of a batch.
func (q *recordQueue) learn(batch []job.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range batch {
		q.known[keyOf(r)] = true
	}
}

// introduce sends what is queued until the server has a record of the job's
// timeline, or nothing is left: what belongs to a record is refused before it.
func (q *recordQueue) introduce(ctx context.Context, id job.RecordID) error {
	for more := true; more; {
		q.mu.Lock()
		known := q.known[recordKey{id: id}]
		q.mu.Unlock()
		if known {
			return nil
		}
		var err error
		if more, err = q.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what is queued for the timeline of a step, and returns how many
// records that were. It is called with mu held.
func (q *recordQueue) forget(timeline job.TimelineID) int {
	before := len(q.order)
	q.order = slices.DeleteFunc(q.order, func(key recordKey) bool {
		if key.timeline == timeline {
			delete(q.pending, key)
			return true
		}
		return false
	})
	return before - len(q.order)
}

// take removes the oldest records, all of the timeline of the first one.
func (q *recordQueue) take() []job.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return nil
	}
	timeline := q.order[0].timeline
	batch := make([]job.Record, 0, min(len(q.order), recordBatch))
	q.order = slices.DeleteFunc(q.order, func(key recordKey) bool {
		if key.timeline != timeline || len(batch) == recordBatch {
			return false
		}
		batch = append(batch, q.pending[key])
		delete(q.pending, key)
		return true
	})
	return batch
}

// restore is called with mu held.
func (q *recordQueue) restore(batch []job.Record) {
	order := make([]recordKey, 0, len(batch)+len(q.order))
	restored := make(map[recordKey]bool, len(batch))
	for _, r := range batch {
		key := keyOf(r)
		if newer, ok := q.pending[key]; ok {
			r = r.Merge(newer)
		}
		q.pending[key] = r
		order = append(order, key)
		restored[key] = true
	}
	for _, key := range q.order {
		if !restored[key] {
			order = append(order, key)
		}
	}
	q.order = order
}

// holdsOutputs reports whether output variables are still unsent, or were refused.
func (q *recordQueue) holdsOutputs() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lost {
		return true
	}
	for _, r := range q.pending {
		if len(r.Variables) > 0 {
			return true
		}
	}
	return false
}

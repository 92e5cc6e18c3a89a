package ado

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

const (
	// uploadWorkers send at the same time: the job's page, a step's page, and
	// room for the many small pages of short steps, each of which costs two
	// round trips.
	uploadWorkers = 4
	// attachmentBudget bounds queued attachments; one larger than it is alone.
	attachmentBudget = 16 << 20
	// uploadPause is the pause before the second attempt of one upload. It
	// doubles up to uploadPauseMax, which is about how long a load balancer
	// takes to see that a server is back.
	uploadPause    = time.Second
	uploadPauseMax = 30 * time.Second
)

// upload is one page or one attachment. Whoever sends it may change it.
type upload struct {
	record     job.RecordID
	attachment *job.Attachment // nil for a page
	page       *page           // nil for an attachment
	owner      *recordLog      // of the page
	delivery   delivery        // of the page
	failures   int             // in a row; guarded by the mutex of pages
}

// seal queues log's page.
func (p *pages) seal(log *recordLog) {
	if log.page == nil {
		return
	}
	u := &upload{record: log.record, page: log.page, owner: log}
	log.page = nil
	log.queue = append(log.queue, u)
	p.open++
	if len(log.queue) == 1 {
		p.ready = append(p.ready, u)
	}
	p.changed.Broadcast()
}

// finish sends what record has.
func (p *pages) finish(record job.RecordID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if log := p.logs[record]; log != nil {
		p.seal(log)
	}
}

// attach queues a file. It waits while others fill the budget, and drops the
// file when ctx ends, and once closed.
func (p *pages) attach(ctx context.Context, record job.RecordID, a job.Attachment) {
	defer p.wake(ctx)()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && p.bytes > 0 && p.bytes+len(a.Content) > attachmentBudget {
		if ctx.Err() != nil {
			p.drop()
			return
		}
		if p.await(); p.given() {
			p.drop()
			return
		}
	}
	if p.closed {
		return
	}
	p.bytes += len(a.Content)
	p.open++
	p.ready = append(p.ready, &upload{record: record, attachment: &a})
	p.changed.Broadcast()
}

// wake lets those who wait look again when ctx ends; the function it returns ends
// that.
func (p *pages) wake(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
}

// hurry ends waits for room ten seconds from now.
func (p *pages) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hurried.IsZero() {
		p.hurried = time.Now()
	}
	p.changed.Broadcast()
}

// given reports whether the job was told to stop and whoever still waits for room
// has waited long enough. It is called with mu held.
func (p *pages) given() bool { return !p.hurried.IsZero() && time.Since(p.hurried) >= stallAfter }

// drop counts what had no room. It is called with mu held.
func (p *pages) drop() {
	if p.dropped++; p.dropped == 1 {
		p.log.Warn("lines or files of a job or step that was told to stop are dropped: the server does not take them")
	}
}

// run sends until closed. ctx is that of the requests.
func (p *pages) run(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for !p.closed && len(p.ready) == 0 {
			p.watch(ctx)
		}
		attend(ctx)
		if p.closed {
			return
		}
		u := p.ready[0]
		p.ready = append(p.ready[:0], p.ready[1:]...)
		p.mu.Unlock()
		p.attempt(ctx, u)
		p.mu.Lock()
	}
}

// attempt sends u once. A failure that may pass is tried again after a pause, in
// which the worker serves others.
func (p *pages) attempt(ctx context.Context, u *upload) {
	err := p.send(ctx, u)
	repeat := err != nil && !uploadRefused(err)
	if err != nil && !repeat {
		p.log.WarnContext(ctx, "a log page or attachment was refused and is dropped", "record_id", u.record, "error", err)
	}
	p.mu.Lock()
	wasAway := p.away > 0
	if repeat = repeat && !p.closed; repeat {
		p.again(u, pauseAfter(err, u.failures+1, p.pause, uploadPauseMax))
	} else {
		p.over(u)
	}
	isAway, closed := p.away > 0, p.closed
	p.mu.Unlock()
	switch {
	case closed:
	case repeat && !wasAway:
		p.log.WarnContext(ctx, "logs and attachments wait for the server", "record_id", u.record, "error", err)
	case repeat:
		p.log.DebugContext(ctx, "upload failed again", "record_id", u.record, "error", err)
	case wasAway && !isAway:
		p.log.InfoContext(ctx, "logs and attachments are sent again")
	}
}

// again queues u after pause.
func (p *pages) again(u *upload, pause time.Duration) {
	if u.failures++; u.failures == 1 {
		p.away++
	}
	p.waiting[u] = time.AfterFunc(pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, still := p.waiting[u]; still {
			delete(p.waiting, u)
			p.ready = append(p.ready, u)
			p.changed.Broadcast()
		}
	})
	p.changed.Broadcast()
}

// over ends u, which was sent or dropped, and lets the next page of its record go.
func (p *pages) over(u *upload) {
	if u.failures > 0 {
		p.away--
	}
	p.stalled = false
	if u.page == nil {
		p.bytes -= len(u.attachment.Content)
	} else {
		p.releasePage(u.page)
		log := u.owner
		if log.queue = log.queue[1:]; len(log.queue) > 0 {
			p.ready = append(p.ready, log.queue[0])
		}
	}
	p.open--
	p.changed.Broadcast()
}

// drain queues every page and waits until all is sent or refused. What waits for
// another attempt gets one at once, and short pauses again: the time is short.
func (p *pages) drain(ctx context.Context) error {
	defer p.wake(ctx)()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, log := range p.logs {
		p.seal(log)
	}
	for u, timer := range p.waiting {
		timer.Stop()
		u.failures = 1
		p.ready = append(p.ready, u)
	}
	clear(p.waiting)
	p.changed.Broadcast()
	for p.open > 0 && !p.closed {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.watch(ctx)
	}
	return nil
}

// watch waits for a change, and attends meanwhile. It is called with mu held.
func (p *pages) watch(ctx context.Context) {
	timer := time.AfterFunc(restPiece, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer timer.Stop()
	p.changed.Wait()
	attend(ctx)
}

// close lets everybody go who waits, and drops what is queued.
func (p *pages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, timer := range p.waiting {
		timer.Stop()
	}
	clear(p.waiting)
	p.changed.Broadcast()
}

// closeSpool takes the disk away. Nobody sends any more; a writer may still be
// moving chunks.
func (p *pages) closeSpool() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.spilling {
		p.changed.Wait()
	}
	p.spool.close()
}

// uploadRefused reports whether sending the same again cannot help: the plan is
// closed to us, what is to be sent is not there, or the server objects to it. A
// page of something in between says nothing about our request, except that it is
// too large.
func uploadRefused(err error) bool {
	for _, final := range []error{ErrPlanGone, ErrLockLost, errSpool, errNotOffered, errFileName} {
		if errors.Is(err, final) {
			return true
		}
	}
	status, ok := errors.AsType[*StatusError](err)
	if !ok {
		return false
	}
	switch status.Code {
	case http.StatusRequestEntityTooLarge:
		return true
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusLengthRequired, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return status.Excerpt == ""
	case http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusGone:
		return status.TypeKey != "" // a gateway that reloads its routes says so, too, without the service's word
	}
	return false
}

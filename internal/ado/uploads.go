package ado

import (
	"context"
	"log/slog"
	"sync"
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
)

// upload is one page or one attachment.
type upload struct {
	record     job.RecordID
	page       *page           // nil for an attachment
	attachment *job.Attachment // nil for a page
}

// pages collects lines into pages, and sends full and finished ones together
// with attachments. The pages of one record are sent in order, because its log
// is the last one.
type pages struct {
	job  job.RecordID
	send func(context.Context, upload) error
	log  *slog.Logger

	mu      sync.Mutex
	changed *sync.Cond // on mu: chunks came back, uploads were queued or done, or closed was set
	closed  bool
	stamp   stamper
	free    []*chunk
	made    int    // chunks that exist
	current *chunk // being filled
	logs    map[job.RecordID]*recordLog
	last    *recordLog // the log of the line before, mostly that of the next one too
	jobLog  *recordLog
	ready   []*recordLog // have pages to send and nobody sending them
	files   []upload     // attachments to send
	bytes   int          // of attachments, queued and under way
	open    int          // uploads queued and under way
}

// recordLog is the log of one record.
type recordLog struct {
	record job.RecordID
	lines  int64
	page   *page   // being filled; nil when empty
	sealed []*page // to be sent, in order
	busy   bool    // ready or being sent
}

func newPages(jobRecord job.RecordID, send func(context.Context, upload) error, log *slog.Logger) *pages {
	p := &pages{job: jobRecord, send: send, log: log, logs: make(map[job.RecordID]*recordLog)}
	p.changed = sync.NewCond(&p.mu)
	p.jobLog = p.logOf(jobRecord)
	return p
}

// write adds a line to the logs of record and of the job, and returns its number
// in the record's log. It waits for room, and returns zero once closed.
func (p *pages) write(record job.RecordID, line []byte) (number int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := stampLength + len(line) + 1
	if !p.reserve(size) {
		return 0
	}
	log := p.logOf(record)
	p.makeRoom(log, size)
	if log != p.jobLog {
		p.makeRoom(p.jobLog, size)
		p.jobLog.lines++
	}
	p.put(log, p.stamp.at(time.Now()))
	p.put(log, line)
	p.put(log, newline[:])
	log.lines++
	return log.lines
}

var newline = [1]byte{'\n'}

func (p *pages) logOf(record job.RecordID) *recordLog {
	if p.last != nil && p.last.record == record {
		return p.last
	}
	log := p.logs[record]
	if log == nil {
		log = &recordLog{record: record}
		p.logs[record] = log
	}
	p.last = log
	return log
}

// reserve waits until size bytes fit, and reports whether they do. When nothing
// is being sent that would free chunks, the pages being filled are sent early.
func (p *pages) reserve(size int) bool {
	need := size/chunkSize + 1
	for !p.closed && len(p.free)+chunkBudget-p.made < need {
		if p.open == 0 {
			for _, log := range p.logs {
				p.seal(log)
			}
		}
		p.changed.Wait()
	}
	return !p.closed
}

// makeRoom starts a new page when size more bytes do not fit.
func (p *pages) makeRoom(log *recordLog, size int) {
	if log.page != nil && log.page.size+size > pageSize {
		p.seal(log)
	}
}

// put copies text into the current chunk and the next ones, which were reserved,
// and refers to it from the pages of log and of the job.
func (p *pages) put(log *recordLog, text []byte) {
	for len(text) > 0 {
		if p.current == nil {
			p.current = p.newChunk()
		}
		c := p.current
		from := c.used
		n := copy(c.data[from:], text)
		c.used += n
		text = text[n:]
		refer(log, c, from, c.used)
		if log != p.jobLog {
			refer(p.jobLog, c, from, c.used)
		}
		if c.used == chunkSize {
			p.current = nil
			p.release(c)
		}
	}
}

// refer adds a stretch of c to log's page, which mostly lengthens its last one.
func refer(log *recordLog, c *chunk, from, to int) {
	if log.page == nil {
		log.page = &page{}
	}
	pg := log.page
	pg.size += to - from
	if n := len(pg.segments); n > 0 && pg.segments[n-1].chunk == c && pg.segments[n-1].to == from {
		pg.segments[n-1].to = to
		return
	}
	pg.segments = append(pg.segments, segment{c, from, to})
	c.refs++
}

func (p *pages) newChunk() *chunk {
	var c *chunk
	if n := len(p.free); n > 0 {
		c, p.free = p.free[n-1], p.free[:n-1]
	} else {
		c = new(chunk)
		p.made++
	}
	c.used, c.refs = 0, 1
	return c
}

func (p *pages) release(c *chunk) {
	if c.refs--; c.refs == 0 {
		p.free = append(p.free, c)
	}
}

// seal queues log's page.
func (p *pages) seal(log *recordLog) {
	if log.page == nil {
		return
	}
	log.sealed = append(log.sealed, log.page)
	log.page = nil
	p.open++
	if !log.busy {
		log.busy = true
		p.ready = append(p.ready, log)
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

// attach queues a file.
func (p *pages) attach(record job.RecordID, a job.Attachment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && p.bytes > 0 && p.bytes+len(a.Content) > attachmentBudget {
		p.changed.Wait()
	}
	p.bytes += len(a.Content)
	p.open++
	p.files = append(p.files, upload{record: record, attachment: &a})
	p.changed.Broadcast()
}

// run sends until closed. ctx is that of the requests.
func (p *pages) run(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for !p.closed && len(p.ready) == 0 && len(p.files) == 0 {
			p.changed.Wait()
		}
		if p.closed {
			return
		}
		p.sendOne(ctx)
	}
}

// sendOne is called with mu held and something to send; it lets go of mu while
// it sends.
func (p *pages) sendOne(ctx context.Context) {
	var u upload
	var log *recordLog
	if len(p.ready) > 0 {
		log = p.ready[0]
		p.ready = append(p.ready[:0], p.ready[1:]...)
		u = upload{record: log.record, page: log.sealed[0]}
	} else {
		u = p.files[0]
		p.files = append(p.files[:0], p.files[1:]...)
	}
	p.mu.Unlock()
	err := p.send(ctx, u)
	if err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "a log page or attachment was lost", "record_id", u.record, "error", err)
	}
	if u.page != nil {
		u.page.mu.Lock()
		u.page.released = true
		u.page.mu.Unlock()
	}
	p.mu.Lock()
	if log != nil {
		for _, s := range u.page.segments {
			p.release(s.chunk)
		}
		log.sealed = log.sealed[1:]
		if log.busy = len(log.sealed) > 0; log.busy {
			p.ready = append(p.ready, log)
		}
	} else {
		p.bytes -= len(u.attachment.Content)
	}
	p.open--
	p.changed.Broadcast()
}

// drain queues every page and waits until all is sent or given up.
func (p *pages) drain(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, log := range p.logs {
		p.seal(log)
	}
	for p.open > 0 && !p.closed {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.changed.Wait()
	}
	return nil
}

// close lets everybody go who waits.
func (p *pages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
}

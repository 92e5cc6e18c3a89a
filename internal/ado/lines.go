package ado

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// pages collects lines into pages, and sends full and finished ones together
// with attachments. The pages of one record are sent in order, because its log
// is the last one; a page that waits for another attempt holds up only those
// behind it. While the server is away, text that no longer fits in memory goes
// to the disk.
type pages struct {
	job   job.RecordID
	send  func(context.Context, *upload) error
	log   *slog.Logger
	spool spool

	mu       sync.Mutex
	changed  *sync.Cond // on mu: room was made, uploads were queued, failed or done, or closed was set
	hurried  time.Time  // when the job was told to stop; zero: it was not
	dropped  int        // lines and files that had no room after that
	closed   bool
	stamp    stamper
	budget   budget
	pause    time.Duration // uploadPause; tests have less
	free     []*buffer
	made     int                 // buffers that exist
	current  *chunk              // being filled
	full     map[*chunk]struct{} // in memory, and not being filled
	segments int                 // of all pages
	logs     map[job.RecordID]*recordLog
	last     *recordLog // the log of the line before, mostly that of the next one too
	jobLog   *recordLog
	ready    []*upload               // to be sent now, oldest first
	waiting  map[*upload]*time.Timer // to be sent again
	away     int                     // uploads whose last attempt failed
	stalled  bool                    // a writer waited for long, and no upload ended since
	bytes    int                     // of attachments, until they are sent or dropped
	open     int                     // uploads that are neither sent nor dropped
	spilling bool                    // somebody moves chunks to the disk
	writers  int                     // those who wait for room
}

// budget is how much memory there is; tests have less.
type budget struct{ chunks, segments int }

// recordLog is the log of one record.
type recordLog struct {
	record job.RecordID
	lines  int64
	page   *page     // being filled; nil when empty
	queue  []*upload // of sealed pages, in order; the first one is ready, waiting or being sent
	stored LogID     // of the last page that has one; belongs to whoever sends the first of queue
}

// newPages returns an empty collection. One without a disk has a zero limit.
func newPages(jobRecord job.RecordID, send func(context.Context, *upload) error, disk spool, log *slog.Logger) *pages {
	p := &pages{
		job: jobRecord, send: send, spool: disk, log: log, budget: budget{chunkBudget, segmentBudget}, pause: uploadPause,
		logs: make(map[job.RecordID]*recordLog), full: make(map[*chunk]struct{}), waiting: make(map[*upload]*time.Timer),
	}
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

// reserve waits until size bytes fit, and reports whether they do. While the
// server is away room is made on the disk. When nothing is being sent that looks
// like freeing memory, the pages being filled are sent early.
func (p *pages) reserve(size int) bool {
	need := size/chunkSize + 1
	for !p.closed && (p.room() < need || p.segments >= p.budget.segments) {
		if (p.away > 0 || p.stalled) && p.room() < need && p.spill() {
			continue
		}
		if p.open <= p.away {
			for _, log := range p.logs {
				p.seal(log)
			}
		}
		if p.await(); p.given() {
			p.drop()
			return false
		}
	}
	return !p.closed
}

// stallAfter is how long nothing may end before a server that does not answer
// counts as away: a page of 8 MiB takes it on a line of seven megabits a second.
const stallAfter = 10 * time.Second

// await waits for a change. A server that swallows requests makes none until they
// time out.
func (p *pages) await() {
	timer := time.AfterFunc(stallAfter, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stalled = true
		p.changed.Broadcast()
	})
	defer timer.Stop()
	p.writers++
	p.changed.Wait()
	p.writers--
}

// waits reports whether anybody waits for room.
func (p *pages) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writers > 0
}

// room returns how many chunks may be begun.
func (p *pages) room() int { return len(p.free) + p.budget.chunks - p.made }

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
		p.refer(log, c, from, c.used)
		if log != p.jobLog {
			p.refer(p.jobLog, c, from, c.used)
		}
		if c.used == chunkSize {
			p.current = nil
			p.full[c] = struct{}{}
			p.release(c)
		}
	}
}

// refer adds a stretch of c to log's page, which mostly lengthens its last one.
func (p *pages) refer(log *recordLog, c *chunk, from, to int) {
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
	p.segments++
	c.refs++
}

func (p *pages) newChunk() *chunk {
	c := &chunk{refs: 1}
	if n := len(p.free); n > 0 {
		c.data, p.free = p.free[n-1], p.free[:n-1]
	} else {
		c.data = new(buffer)
		p.made++
	}
	return c
}

// release gives back what c occupies when nobody refers to it any more.
func (p *pages) release(c *chunk) {
	if c.refs--; c.refs > 0 {
		return
	}
	if c.data == nil {
		p.spool.give(c.at)
		return
	}
	delete(p.full, c)
	p.free = append(p.free, c.data)
}

// releasePage lets go of a page that was sent or dropped.
func (p *pages) releasePage(pg *page) {
	pg.mu.Lock()
	pg.released = true
	pg.mu.Unlock()
	for _, s := range pg.segments {
		p.release(s.chunk)
	}
	p.segments -= len(pg.segments)
}

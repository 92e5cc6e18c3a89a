package ado

import (
	"context"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dockless-ci/dockless/internal/job"
)

const (
	// feedLines is how many live lines are kept until they are sent; the oldest
	// make room (protocol §7.5 takes about as many in one tick).
	feedLines = 500
	feedBatch = 100  // most lines of one request
	feedWidth = 1024 // most characters of one live line
	// feedLast is how many lines of each record are sent at the end.
	feedLast = 2 * feedBatch

	feedFast  = 500 * time.Millisecond // while the job is young
	feedSlow  = time.Second
	feedTicks = 30 // how many fast ticks there are
	// feedBurst requests may be sent ahead of the tick, feedSpacing apart; each
	// tick earns one back. The rate in the long run is the protocol's, and the
	// first lines of a short job are seen at once.
	feedBurst   = 10
	feedSpacing = 15 * time.Millisecond
	// feedTimeout bounds one request: later lines are worth more than these.
	feedTimeout = 10 * time.Second
)

// feed sends live lines while they are news. It is not durable: what the server
// does not take is dropped.
type feed struct {
	send func(ctx context.Context, step job.RecordID, startLine int64, lines []string) error
	log  *slog.Logger
	wake chan struct{} // holds one element while there may be lines; never closed
	busy chan struct{} // holds one element while lines are being sent

	mu       sync.Mutex
	slots    [feedLines]feedLine // a ring, whose texts are reused
	first, n int
	interval time.Duration // zero: the default
}

// feedLine is one line of a record; number is 1-based.
type feedLine struct {
	record job.RecordID
	number int64
	text   []byte
}

func newFeed(send func(context.Context, job.RecordID, int64, []string) error, log *slog.Logger) *feed {
	return &feed{send: send, log: log, wake: make(chan struct{}, 1), busy: make(chan struct{}, 1)}
}

func (f *feed) setInterval(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interval = max(d, 0)
}

// add keeps a copy of line, cut to what is shown.
func (f *feed) add(record job.RecordID, number int64, line []byte) {
	f.mu.Lock()
	slot := &f.slots[(f.first+f.n)%feedLines]
	if f.n == feedLines {
		f.first = (f.first + 1) % feedLines
	} else {
		f.n++
	}
	slot.record, slot.number = record, number
	shown := cutLine(line)
	slot.text = append(slot.text[:0], shown...)
	if len(shown) < len(line) {
		slot.text = append(slot.text, "..."...)
	}
	wasEmpty := f.n == 1
	f.mu.Unlock()
	if wasEmpty {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// cutLine returns the first feedWidth characters of line.
func cutLine(line []byte) []byte {
	if len(line) <= feedWidth {
		return line
	}
	end := 0
	for range feedWidth {
		if end >= len(line) {
			return line
		}
		_, size := utf8.DecodeRune(line[end:])
		end += size
	}
	return line[:end]
}

// run sends until ctx ends.
func (f *feed) run(ctx context.Context) {
	tokens, ticks := feedBurst, 0
	next := time.Now().Add(f.period(0)) // when the next tick earns a token
	for {
		if awaken(ctx, f.wake) != nil {
			return
		}
		for tokens == 0 || !next.After(time.Now()) {
			if rest(ctx, time.Until(next)) != nil {
				return
			}
			tokens = min(tokens+1, feedBurst)
			ticks++
			next = next.Add(f.period(ticks))
		}
		tokens--
		f.flush(ctx, feedLines)
		if rest(ctx, feedSpacing) != nil {
			return
		}
	}
}

func (f *feed) period(ticks int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.interval > 0 {
		return f.interval
	}
	if ticks < feedTicks {
		return feedFast
	}
	return feedSlow
}

// drain sends the last lines of each record.
func (f *feed) drain(ctx context.Context) { f.flush(ctx, feedLast) }

// feedGroup are lines of one record in a row.
type feedGroup struct {
	record job.RecordID
	start  int64
	lines  []string
}

// flush sends what is kept, at most last lines of each record.
func (f *feed) flush(ctx context.Context, last int) {
	if occupy(ctx, f.busy) != nil {
		return
	}
	defer func() { <-f.busy }()
	for _, g := range f.take() {
		if skip := len(g.lines) - last; skip > 0 {
			g.start, g.lines = g.start+int64(skip), g.lines[skip:]
		}
		for len(g.lines) > 0 {
			batch := g.lines[:min(len(g.lines), feedBatch)]
			f.post(ctx, g.record, g.start, batch)
			g.start, g.lines = g.start+int64(len(batch)), g.lines[len(batch):]
		}
	}
}

func (f *feed) post(ctx context.Context, record job.RecordID, start int64, lines []string) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	if err := f.send(ctx, record, start, lines); err != nil {
		f.log.DebugContext(ctx, "live lines were dropped", "record_id", record, "lines", len(lines), "error", err)
	}
}

// take empties the ring and groups its lines by record, in the order in which
// the records spoke first.
func (f *feed) take() []*feedGroup {
	f.mu.Lock()
	defer f.mu.Unlock()
	var groups []*feedGroup
	byRecord := make(map[job.RecordID]*feedGroup)
	for ; f.n > 0; f.n-- {
		line := &f.slots[f.first]
		f.first = (f.first + 1) % feedLines
		g := byRecord[line.record]
		if g == nil {
			g = &feedGroup{record: line.record, start: line.number}
			byRecord[line.record] = g
			groups = append(groups, g)
		}
		g.lines = append(g.lines, string(line.text))
	}
	return groups
}

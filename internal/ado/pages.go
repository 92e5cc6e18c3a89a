package ado

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	pageSize  = 8 << 20 // of one stored log (protocol §7.6)
	chunkSize = 64 << 10
	// chunkBudget bounds all log text in memory to 24 MiB: one page being
	// filled, one being sent, and room for a server that pauses. A step's page
	// and the job's share their chunks, so a line is kept once.
	chunkBudget = 24 << 20 / chunkSize
	// maxLine keeps one line from needing the whole budget.
	maxLine = 1 << 20
	// stampLength is that of "2026-08-22T09:11:07.4021930Z ".
	stampLength = 29
)

// chunk is a piece of log text. It is written once, front to back, and goes back
// to the pool when no page refers to it.
type chunk struct {
	data [chunkSize]byte
	used int
	refs int // of segments, and one while it is being filled
}

// segment is a stretch of a chunk that belongs to a page.
type segment struct {
	chunk    *chunk
	from, to int
}

// page is one stored log on its way: lines of one record.
type page struct {
	segments []segment
	size     int

	mu       sync.Mutex
	released bool // the chunks are no longer ours
}

// reader returns the page's text from its beginning. It may be called again for
// another attempt.
func (p *page) reader() *pageReader { return &pageReader{page: p} }

// pageReader reads one page. The transport knows it, and with it the length of
// the body and how to begin again.
type pageReader struct {
	page     *page
	at, from int
}

// Read implements io.Reader. A connection that was given up may still read when
// the page is done: it then gets an error instead of somebody else's lines.
func (r *pageReader) Read(p []byte) (int, error) {
	r.page.mu.Lock()
	defer r.page.mu.Unlock()
	if r.page.released {
		return 0, io.ErrClosedPipe
	}
	n := 0
	for n < len(p) && r.at < len(r.page.segments) {
		s := r.page.segments[r.at]
		k := copy(p[n:], s.chunk.data[s.from+r.from:s.to])
		n += k
		if r.from += k; s.from+r.from == s.to {
			r.at, r.from = r.at+1, 0
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close implements io.Closer; the page belongs to the uploader.
func (r *pageReader) Close() error { return nil }

// stamper writes the time in front of a line. The date is formatted once per
// second.
type stamper struct {
	second int64
	text   [stampLength]byte
}

// at returns the stamp of t, good until the next call.
func (s *stamper) at(t time.Time) []byte {
	if second := t.Unix(); second != s.second || s.text[0] == 0 {
		s.second = second
		t.UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05.0000000Z ")
	}
	fraction := t.Nanosecond() / 100
	for i := 26; i >= 20; i-- {
		s.text[i] = byte('0' + fraction%10)
		fraction /= 10
	}
	return s.text[:]
}

func bytesReader(b []byte) *bytes.Reader { return bytes.NewReader(b) }

package ado

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
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
	// segmentBudget bounds what it takes to find the text again, in memory and
	// on disk, to about 6 MiB. Lines of one record in a row need one segment for
	// each chunk; only records that speak in turn, line by line, come near it.
	segmentBudget = 256 << 10
	// maxLine keeps one line from needing the whole budget.
	maxLine = 1 << 20
	// stampLength is that of "2026-08-22T09:11:07.4021930Z ".
	stampLength = 29
)

// buffer is the memory of a chunk.
type buffer [chunkSize]byte

// chunk is a piece of log text. It is written once, front to back; its memory
// goes back to the pool when no page refers to it, or when it moved to the disk.
// used and refs belong to [pages].
type chunk struct {
	used int
	refs int // of segments, one while it is being filled, and one while it moves

	mu   sync.Mutex
	data *buffer  // nil: on the disk
	file *os.File // where it is then, from byte at on
	at   int64
}

// errSpool says that text which was written to the disk cannot be read again.
var errSpool = errors.New("log text is no longer on the disk")

// read fills p with the text from byte from on, wherever it is now.
func (c *chunk) read(p []byte, from int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data != nil {
		copy(p, c.data[from:])
		return nil
	}
	if _, err := c.file.ReadAt(p, c.at+int64(from)); err != nil {
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	return nil
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

// reader returns the page's text from byte start on. It may be called again for
// another attempt.
func (p *page) reader(start int) *pageReader {
	r := &pageReader{page: p, start: start}
	for r.from = start; r.at < len(p.segments); r.at++ {
		s := p.segments[r.at]
		if r.from < s.to-s.from {
			break
		}
		r.from -= s.to - s.from
	}
	return r
}

// count returns how many lines the page has, and where the first n of them end,
// in bytes. The server counts them too, which tells what it has; so they are
// counted when that is asked, and not while lines are written.
func (p *page) count(n int64) (lines int64, end int, err error) {
	from := p.reader(0)
	text := make([]byte, chunkSize)
	for at := 0; ; {
		k, err := from.Read(text)
		for rest := text[:k]; ; {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				at += len(rest)
				break
			}
			lines, at, rest = lines+1, at+i+1, rest[i+1:]
			if lines == n {
				end = at
			}
		}
		if errors.Is(err, io.EOF) {
			return lines, end, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// pageReader reads one page. The transport knows it, and with it the length of
// the body and how to begin again.
type pageReader struct {
	page     *page
	start    int // the byte of the page that it began with
	at, from int
}

// length returns how many bytes there were to read at the beginning.
func (r *pageReader) length() int { return r.page.size - r.start }

func (r *pageReader) again() io.ReadCloser { return r.page.reader(r.start) }

// Read implements io.Reader. A connection that was given up may still read when
// the page is done: it then gets an error instead of somebody else's lines. The
// page may move to the disk between two reads, and during one.
func (r *pageReader) Read(p []byte) (int, error) {
	r.page.mu.Lock()
	defer r.page.mu.Unlock()
	if r.page.released {
		return 0, io.ErrClosedPipe
	}
	n := 0
	for n < len(p) && r.at < len(r.page.segments) {
		s := r.page.segments[r.at]
		k := min(len(p)-n, s.to-s.from-r.from)
		if err := s.chunk.read(p[n:n+k], s.from+r.from); err != nil {
			return n, err
		}
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

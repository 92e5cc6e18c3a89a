package emulator

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/dockless-ci/dockless/internal/statuspage"
)

// indexStep is how many lines lie between two places of an index: as many as one
// page shows, so that a page reads two steps at most.
const indexStep = statuspage.PageLines

// lineIndex knows where lines begin in a file that only grows. Its zero value
// knows nothing yet.
type lineIndex struct {
	mu     sync.Mutex
	starts []int64 // of the lines 1, 1+indexStep, …
	lines  int     // that ended
	size   int64   // what was looked at
	last   byte
}

// read looks at what the file has grown by, and returns how many lines there are.
func (x *lineIndex) read(file io.ReadSeeker) (lines int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, err := file.Seek(x.size, io.SeekStart); err != nil {
		return 0, err
	}
	if len(x.starts) == 0 {
		x.starts = append(x.starts, 0)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := file.Read(buf)
		for at := 0; at < n; {
			end := bytes.IndexByte(buf[at:n], '\n')
			if end < 0 {
				break
			}
			at += end + 1
			if x.lines++; x.lines%indexStep == 0 {
				x.starts = append(x.starts, x.size+int64(at))
			}
		}
		if n > 0 {
			x.size, x.last = x.size+int64(n), buf[n-1] //nolint:gosec // n is at most its length
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	if x.size > 0 && x.last != '\n' {
		return x.lines + 1, nil
	}
	return x.lines, nil
}

// start returns where to begin for line n, counted from one, and how many lines to
// pass over from there.
func (x *lineIndex) start(n int) (offset int64, over int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := min((n-1)/indexStep, len(x.starts)-1)
	return x.starts[i], n - 1 - i*indexStep
}

// windowOf reads lines of a log that is stored in pages, without time stamps.
func windowOf(pages []*storedLog, from, most int) (_ statuspage.Log, err error) {
	out := statuspage.Log{Kept: 1}
	counts := make([]int, len(pages))
	files := make([]*os.File, len(pages))
	defer func() {
		for _, f := range files {
			if f != nil {
				err = errors.Join(err, f.Close())
			}
		}
	}()
	for i, l := range pages {
		if files[i], err = os.Open(l.file.path); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				files[i] = nil // no page was sent yet
				continue
			}
			return out, fmt.Errorf("reading log %d: %w", l.id, err)
		}
		if counts[i], err = l.index.read(files[i]); err != nil {
			return out, fmt.Errorf("reading log %d: %w", l.id, err)
		}
		out.Total += counts[i]
	}
	if from <= 0 {
		from = max(1, out.Total-most+1)
	}
	out.First = min(from, out.Total+1)
	at := out.First
	before := 0 // lines of earlier pages
	for i, l := range pages {
		for at <= before+counts[i] && len(out.Lines) < most {
			lines, err := l.read(files[i], at-before, min(most-len(out.Lines), before+counts[i]-at+1))
			if err != nil {
				return out, fmt.Errorf("reading log %d: %w", l.id, err)
			}
			if len(lines) == 0 {
				return out, fmt.Errorf("reading log %d: it has become shorter", l.id)
			}
			out.Lines = append(out.Lines, lines...)
			at += len(lines)
		}
		before += counts[i]
	}
	return out, nil
}

// read reads up to n lines from line from on.
func (l *storedLog) read(file *os.File, from, n int) ([][]byte, error) {
	offset, over := l.index.start(from)
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	reader := bufio.NewReaderSize(file, 64<<10)
	var out [][]byte
	for len(out) < n {
		line, err := reader.ReadBytes('\n')
		if len(line) == 0 && errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if over > 0 {
			over--
			continue
		}
		line = bytes.TrimRight(line, "\r\n")
		line = bytes.TrimPrefix(line[stamped(line):], []byte(bom))
		out = append(out, line[:min(len(line), mostShown)])
	}
	return out, nil
}

// mostShown is how much of a line a page shows.
const mostShown = 64 << 10

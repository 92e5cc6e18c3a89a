package libpod

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// LogsOptions says which lines [Client.Logs] delivers.
type LogsOptions struct {
	// Follow goes on until the container ends or ctx does. Podman may drop any line that
	// it reads after the end; see [Client.Logs].
	Follow bool
	Tail   int       // only the last lines; zero is all of them; not with Follow
	Resume bool      // the lines of a tail tell where to go on, for which the whole log is read
	Since  time.Time // only lines from then on; zero is all of them
}

// Line is a line that a container wrote, without its end.
type Line struct {
	Stamp      string // when its first piece was written, as exactly as Podman tells: some releases to the second
	Text       string
	Unfinished bool // the log ends before the line does

	// From and Nth tell where to go on after the line: a read since From has Nth lines
	// that are known, this one the last of them.
	From string
	Nth  int
}

// wholeTails is the first release whose last lines are whole: before it, the pieces
// that a program wrote of a line, as an unbuffered one does, were lost or put to the
// line before (containers/podman, issue 19545).
const wholeTails = "4.7"

// Logs delivers the lines of one container. Those of a log that is not followed are
// complete. Of one that is followed, Podman tells its reader to stop at the end of the
// file when the container ends, and what it reads from then on, lines of the next run
// among it, is sent or dropped by chance (nxadm/tail 1.4.11, sendLine): of an ended container
// with 400 000 lines it sent 16 000.
func (c *Client) Logs(ctx context.Context, id, name string, o LogsOptions, line func(Line)) error {
	if o.Tail == 0 {
		return c.logs(ctx, id, name, o, func(body io.Reader) error { return readLog(body, line) })
	}
	most := o.Tail
	if o.Resume || c.Before(wholeTails) {
		o.Tail = 0
	}
	var last []Line // no more than asked for, since Podman does not count a line without an end
	err := c.logs(ctx, id, name, o, func(body io.Reader) error {
		return readLog(body, func(l Line) {
			if last = append(last, l); len(last) >= 2*most { // so that a line is moved once at most
				last = append(last[:0], last[len(last)-most:]...)
			}
		})
	})
	for _, l := range last[max(0, len(last)-most):] {
		line(l)
	}
	return err
}

func (c *Client) logs(ctx context.Context, id, name string, o LogsOptions, read func(io.Reader) error) error {
	query := url.Values{"stdout": {"true"}, "stderr": {"true"}, "timestamps": {"true"}}
	if o.Follow {
		query.Set("follow", "true")
	}
	if !o.Since.IsZero() {
		query.Set("since", o.Since.Format(time.RFC3339Nano))
	}
	if o.Tail > 0 {
		query.Set("tail", strconv.Itoa(o.Tail))
	}
	if !o.Follow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, loadTimeout, fmt.Errorf("podman did not deliver the logs within %s", loadTimeout))
		defer cancel()
	}
	what := "reading the logs of container " + name
	body, err := c.stream(ctx, request{method: http.MethodGet, path: "/containers/" + id + "/logs", query: query, bound: -1, what: what})
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // everything of interest has been read
	if err := read(body); err != nil {
		return fmt.Errorf("%s: %w", what, withCause(ctx, err))
	}
	return nil
}

// maxFrame is larger than any line Podman keeps in one piece; a bigger length
// means that the stream is not what we think it is.
const maxFrame = 16 << 20

// nextFrame reads the header of a frame of output, eight bytes: the first says which
// stream it belongs to, the last four how long it is. At the end it is [io.EOF].
func nextFrame(in io.Reader) (stream byte, size int64, err error) {
	var header [8]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return 0, 0, err
	}
	size = int64(binary.BigEndian.Uint32(header[4:]))
	if stream = header[0]; stream > 2 || size > maxFrame {
		return 0, 0, fmt.Errorf("a frame of stream %d and %d bytes is no frame of output", stream, size)
	}
	return stream, size, nil
}

// readFrames reads a stream of output: frames with a piece of one line. Streams are put
// together separately, so that pieces of stdout and stderr do not mix.
func readFrames(r io.Reader, line func(string)) error {
	return readPieces(r, func(piece string) (stamp, text string) { return "", piece }, func(l Line) { line(l.Text) })
}

// readLog is readFrames for a log, where each frame has the time and a space in front
// of its piece.
func readLog(r io.Reader, line func(Line)) error {
	return readPieces(r, func(piece string) (stamp, text string) {
		stamp, text, _ = strings.Cut(piece, " ")
		return stamp, text
	}, line)
}

func readPieces(r io.Reader, split func(piece string) (stamp, text string), line func(Line)) error {
	in := bufio.NewReader(r)
	var (
		lines [3]struct { // of each stream
			text  strings.Builder
			stamp string
			begun bool
		}
		begun  int    // how many of them are
		before string // the time of the frame before
		next   Line   // where to go on after the next line
	)
	defer func() {
		for i := range lines {
			if b := &lines[i]; b.text.Len() > 0 {
				line(Line{Stamp: b.stamp, Text: b.text.String(), Unfinished: true})
			}
		}
	}()
	for {
		stream, size, err := nextFrame(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var piece strings.Builder
		if _, err := io.CopyN(&piece, in, size); err != nil {
			return err
		}
		stamp, rest := split(piece.String())
		if begun == 0 && stamp != before {
			next = Line{From: stamp} // a read since then begins with this very frame
		}
		before = stamp
		for b := &lines[stream]; rest != ""; {
			if !b.begun {
				b.stamp, b.begun = stamp, true
				begun++
			}
			text, after, ended := strings.Cut(rest, "\n")
			b.text.WriteString(text)
			if !ended {
				break
			}
			next.Nth++
			next.Stamp, next.Text = b.stamp, strings.TrimSuffix(b.text.String(), "\r")
			line(next)
			b.text.Reset()
			b.begun = false
			begun--
			rest = after
		}
	}
}

// What a container wrote right before its end may reach its log a moment after it:
// one that has no word is asked again, twice.
const (
	lastTries = 3
	lastPause = 100 * time.Millisecond
)

// LastLines returns at most as many last lines of a container for an error report; what
// cannot be read is left out.
func (c *Client) LastLines(ctx context.Context, id, name string, most int) []string {
	for try := 1; ; try++ {
		var lines []string
		err := c.Logs(ctx, id, name, LogsOptions{Tail: most}, func(line Line) { lines = append(lines, line.Text) })
		if err != nil {
			c.log.DebugContext(ctx, "log lines of a failed service are missing", "container", name, "error", err)
		}
		said := slices.ContainsFunc(lines, func(line string) bool { return strings.TrimSpace(line) != "" })
		if said || err != nil || try == lastTries || retry.Wait(ctx, lastPause) != nil {
			return lines[max(0, len(lines)-most):]
		}
	}
}

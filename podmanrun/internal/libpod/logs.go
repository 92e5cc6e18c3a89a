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
	Follow     bool // go on until the container ends or ctx does
	Tail       int  // only the last lines; zero is all of them
	Timestamps bool // each line starts with its RFC 3339 time

	Since time.Time // only lines from then on; zero is all of them
}

// Logs delivers the lines of one container.
func (c *Client) Logs(ctx context.Context, id, name string, o LogsOptions, line func(string)) error {
	return c.logs(ctx, id, name, o, func(body io.Reader) error { return readFrames(body, line) })
}

// StampedLogs is [Client.Logs] that tells when each line was written, as exactly as
// Podman does: some releases to the second.
func (c *Client) StampedLogs(ctx context.Context, id, name string, o LogsOptions, line func(stamp, text string)) error {
	o.Timestamps = true
	return c.logs(ctx, id, name, o, func(body io.Reader) error { return readLines(body, true, line) })
}

func (c *Client) logs(ctx context.Context, id, name string, o LogsOptions, read func(io.Reader) error) error {
	query := url.Values{"stdout": {"true"}, "stderr": {"true"}}
	if o.Follow {
		query.Set("follow", "true")
	}
	if o.Timestamps {
		query.Set("timestamps", "true")
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

// readFrames reads Podman's log stream: frames with a piece of one line. Streams are put
// together separately, so that pieces of stdout and stderr do not mix.
func readFrames(r io.Reader, line func(string)) error {
	return readLines(r, false, func(_, text string) { line(text) })
}

// readLines is readFrames for frames that may be stamped: then each has the time and
// a space in front of its piece. A line has the time of its first piece.
func readLines(r io.Reader, stamped bool, line func(stamp, text string)) error {
	in := bufio.NewReader(r)
	var partial [3]struct {
		strings.Builder
		stamp string
	}
	defer func() {
		for i := range partial {
			if b := &partial[i]; b.Len() > 0 {
				line(b.stamp, b.String())
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
		var text strings.Builder
		if _, err := io.CopyN(&text, in, size); err != nil {
			return err
		}
		b := &partial[stream]
		rest, stamp := text.String(), ""
		if stamped {
			stamp, rest, _ = strings.Cut(rest, " ")
		}
		for {
			if b.Len() == 0 {
				b.stamp = stamp
			}
			before, after, ended := strings.Cut(rest, "\n")
			b.WriteString(before)
			if !ended {
				break
			}
			line(b.stamp, strings.TrimSuffix(b.String(), "\r"))
			b.Reset()
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
		err := c.Logs(ctx, id, name, LogsOptions{Tail: most}, func(line string) { lines = append(lines, line) })
		if err != nil {
			c.log.DebugContext(ctx, "log lines of a failed service are missing", "container", name, "error", err)
		}
		said := slices.ContainsFunc(lines, func(line string) bool { return strings.TrimSpace(line) != "" })
		if said || err != nil || try == lastTries || retry.Wait(ctx, lastPause) != nil {
			return lines[max(0, len(lines)-most):]
		}
	}
}

package imagebuild

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Progress says how a build is shown. The zero value shows nothing.
type Progress struct {
	// Mode is auto, tty, plain, rawjson or quiet. Auto and empty are tty on a
	// terminal and plain elsewhere. Plain lines fit a job's log.
	Mode string
	Out  io.Writer // nil shows nothing
	// Observe, when set, is told every status as BuildKit sent it, in order and one
	// at a time. With several nodes names and digests say whose a vertex is. It must
	// not block for long and must not keep or change what it is given.
	Observe func(*client.SolveStatus)
}

// display draws statuses until it is closed.
type display struct {
	statuses chan *client.SolveStatus // closed by close
	done     chan struct{}            // closed by the drawing goroutine
	mu       sync.Mutex               // held while observe is told
	observe  func(*client.SolveStatus)
	err      error // set before done is closed
}

func (p Progress) start(ctx context.Context) (*display, error) {
	mode := progressui.DisplayMode(p.Mode)
	if p.Out == nil {
		mode = progressui.QuietMode
	}
	ui, err := progressui.NewDisplay(p.Out, mode)
	if err != nil {
		return nil, hint.With(fmt.Errorf("showing progress as %q: %w", p.Mode, err), "use one of auto, tty, plain, rawjson, quiet for --progress")
	}
	d := &display{statuses: make(chan *client.SolveStatus), done: make(chan struct{}), observe: p.Observe}
	// A cancelled build still shows how its steps ended: drawing stops when the
	// statuses do, and every solve ends soon after its context.
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(d.done)
		_, d.err = ui.UpdateFrom(ctx, d.statuses)
	}()
	return d, nil
}

// show hands one status to the display. Several solves may do so at a time.
func (d *display) show(s *client.SolveStatus) {
	if d.observe != nil {
		d.mu.Lock()
		d.observe(s)
		d.mu.Unlock()
	}
	select {
	case d.statuses <- s:
	case <-d.done:
	}
}

// close waits until everything is drawn.
func (d *display) close() error {
	close(d.statuses)
	<-d.done
	return d.err
}

const (
	importPrefix = "importing cache manifest from "
	exportPrefix = "exporting cache"
)

// calm returns s with a missing cache told as what it is: the first build of a
// branch has none, and that is no error.
func calm(s *client.SolveStatus) *client.SolveStatus {
	var out *client.SolveStatus
	for i, v := range s.Vertexes {
		if v.Error == "" || !strings.HasPrefix(v.Name, importPrefix) {
			continue
		}
		if out == nil {
			c := *s
			c.Vertexes = append([]*client.Vertex(nil), s.Vertexes...)
			c.Logs = append([]*client.VertexLog(nil), s.Logs...)
			out = &c
		}
		quiet := *v
		quiet.Error = ""
		out.Vertexes[i] = &quiet
		text := "no cache taken from here: " + firstLine(v.Error) + "\n"
		log := &client.VertexLog{Vertex: v.Digest, Stream: 1, Data: []byte(text)}
		if v.Completed != nil {
			log.Timestamp = *v.Completed
		}
		out.Logs = append(out.Logs, log)
	}
	if out == nil {
		return s
	}
	return out
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// only returns the part of s that belongs to vertices whose names begin with
// prefix, and nil when there is none. It remembers their digests in known.
func only(s *client.SolveStatus, prefix string, known map[digest.Digest]bool) *client.SolveStatus {
	var out client.SolveStatus
	for _, v := range s.Vertexes {
		if strings.HasPrefix(v.Name, prefix) {
			known[v.Digest] = true
			out.Vertexes = append(out.Vertexes, v)
		}
	}
	for _, v := range s.Statuses {
		if known[v.Vertex] {
			out.Statuses = append(out.Statuses, v)
		}
	}
	for _, v := range s.Logs {
		if known[v.Vertex] {
			out.Logs = append(out.Logs, v)
		}
	}
	if len(out.Vertexes)+len(out.Statuses)+len(out.Logs) == 0 {
		return nil
	}
	return &out
}

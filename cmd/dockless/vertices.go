package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"
	"golang.org/x/term"
)

// terminalOf returns w as a file, and whether it is a terminal.
func terminalOf(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// vertices is BuildKit's progress display, drawing things of ours: steps of a
// job, services of a stack. Its methods may be called concurrently until close.
type vertices struct {
	status chan *client.SolveStatus // closed by close
	done   chan struct{}            // closed when the display has ended
	err    error                    // why it ended, once done is closed
}

// vertex is one thing that is drawn. A zero time means not yet.
type vertex struct {
	id, name           string
	started, completed time.Time
	failed             string // why, or empty
}

// drawVertices starts a display on a terminal. title begins its first line.
func drawVertices(ctx context.Context, f *os.File, title string) (*vertices, error) {
	d, err := progressui.NewDisplay(f, progressui.TtyMode, progressui.WithPhase(title))
	if err != nil {
		return nil, err
	}
	v := &vertices{status: make(chan *client.SolveStatus, 64), done: make(chan struct{})} // 64: a burst of lines does not wait for the screen
	go func() {
		defer close(v.done)
		// The display ends with the channel: an interrupted command still shows its clean-up.
		_, v.err = d.UpdateFrom(context.WithoutCancel(ctx), v.status)
	}()
	return v, nil
}

func (v *vertices) draw(x vertex) {
	drawn := &client.Vertex{Digest: digest.FromString(x.id), Name: x.name, Error: x.failed}
	if !x.started.IsZero() {
		drawn.Started = &x.started
	}
	if !x.completed.IsZero() {
		drawn.Completed = &x.completed
		if drawn.Started == nil {
			drawn.Started = &x.completed
		}
	}
	v.send(&client.SolveStatus{Vertexes: []*client.Vertex{drawn}})
}

// log adds one line below the vertex with this id.
func (v *vertices) log(id, line string) {
	v.send(&client.SolveStatus{Logs: []*client.VertexLog{{
		Vertex: digest.FromString(id), Stream: 1, Data: []byte(line + "\n"), Timestamp: time.Now(),
	}}})
}

func (v *vertices) send(s *client.SolveStatus) {
	select {
	case v.status <- s:
	case <-v.done:
	}
}

// close ends the display and leaves its last picture on the screen.
func (v *vertices) close() error {
	close(v.status)
	<-v.done
	return v.err
}

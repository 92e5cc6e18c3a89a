package console

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

// Terminal returns w as a file, and whether it is a terminal.
func Terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// Vertices is BuildKit's progress display, drawing things of ours: steps of a
// job, services of a stack. Its methods may be called concurrently until Close.
type Vertices struct {
	status chan *client.SolveStatus // closed by Close
	done   chan struct{}            // closed when the display has ended
	err    error                    // why it ended, once done is closed
}

// Vertex is one thing that is drawn. A zero time means not yet.
type Vertex struct {
	ID, Name           string
	Started, Completed time.Time
	Failed             string // why, or empty
}

// DrawVertices starts a display on a terminal. title begins its first line. The
// display outlives the end of ctx: it ends in [Vertices.Close].
func DrawVertices(ctx context.Context, f *os.File, title string) (*Vertices, error) {
	d, err := progressui.NewDisplay(f, progressui.TtyMode, progressui.WithPhase(title))
	if err != nil {
		return nil, err
	}
	v := &Vertices{status: make(chan *client.SolveStatus, 64), done: make(chan struct{})} // 64: a burst of lines does not wait for the screen
	go func() {
		defer close(v.done)
		// The display ends with the channel: an interrupted command still shows its clean-up.
		_, v.err = d.UpdateFrom(context.WithoutCancel(ctx), v.status)
	}()
	return v, nil
}

// Draw shows a vertex as it is now.
func (v *Vertices) Draw(x Vertex) {
	drawn := &client.Vertex{Digest: digest.FromString(x.ID), Name: x.Name, Error: x.Failed}
	if !x.Started.IsZero() {
		drawn.Started = &x.Started
	}
	if !x.Completed.IsZero() {
		drawn.Completed = &x.Completed
		if drawn.Started == nil {
			drawn.Started = &x.Completed
		}
	}
	v.send(&client.SolveStatus{Vertexes: []*client.Vertex{drawn}})
}

// Log adds one line below the vertex with this id.
func (v *Vertices) Log(id, line string) {
	v.send(&client.SolveStatus{Logs: []*client.VertexLog{{
		Vertex: digest.FromString(id), Stream: 1, Data: []byte(line + "\n"), Timestamp: time.Now(),
	}}})
}

func (v *Vertices) send(s *client.SolveStatus) {
	select {
	case v.status <- s:
	case <-v.done:
	}
}

// Close ends the display and leaves its last picture on the screen.
func (v *Vertices) Close() error {
	close(v.status)
	<-v.done
	return v.err
}

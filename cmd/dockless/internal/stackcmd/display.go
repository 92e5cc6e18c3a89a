package stackcmd

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/podmanrun"
)

// stackDisplay shows how a stack comes up. Events come one at a time.
type stackDisplay interface {
	event(podmanrun.Event)
	close() error // nothing comes any more
}

// newStackDisplay draws on a terminal and prints lines anywhere else.
func newStackDisplay(ctx context.Context, w io.Writer, quiet bool) (stackDisplay, error) {
	if quiet {
		return noDisplay{}, nil
	}
	if f, tty := console.Terminal(w); tty {
		v, err := console.DrawVertices(ctx, f, "Starting")
		if err != nil {
			return nil, err
		}
		return &stackVertices{vertices: v, services: make(map[string]*console.Vertex)}, nil
	}
	return &stackLines{w: w, start: time.Now()}, nil
}

type noDisplay struct{}

func (noDisplay) event(podmanrun.Event) {}
func (noDisplay) close() error          { return nil }

// stackLines prints one line for each event, the time since start in front.
type stackLines struct {
	w     io.Writer
	start time.Time
}

func (l *stackLines) event(e podmanrun.Event) {
	text := ""
	if e.Text != "" {
		text = "  " + console.OneLine(e.Text)
	}
	console.Say(l.w, "%6.2fs  %-12s %s%s\n", time.Since(l.start).Seconds(), e.Subject(), e.Kind, text)
}

func (l *stackLines) close() error { return nil }

// stackVertices draws each service as a vertex.
type stackVertices struct {
	vertices *console.Vertices
	services map[string]*console.Vertex
}

func (s *stackVertices) event(e podmanrun.Event) {
	service := s.services[e.Subject()]
	if service == nil {
		service = &console.Vertex{ID: e.Subject(), Started: time.Now()}
		s.services[e.Subject()] = service
	}
	service.Name = fmt.Sprintf("%s %s", e.Subject(), e.Kind)
	if e.Service == "" {
		service.Name = string(e.Kind)
	}
	switch e.Kind {
	case podmanrun.EventUnhealthy:
		service.Failed = "unhealthy"
		service.Completed = time.Now()
	case podmanrun.EventKept, podmanrun.EventHealthy, podmanrun.EventExited, podmanrun.EventRemoved:
		service.Completed = time.Now()
	case podmanrun.EventWarning:
		service.Completed = time.Now()
	}
	s.vertices.Draw(*service)
	if e.Text != "" {
		s.vertices.Log(service.ID, console.OneLine(e.Text))
	}
}

// close ends with what was started and needs no more: a service without a
// healthcheck has no further event.
func (s *stackVertices) close() error {
	for _, service := range s.services {
		if service.Completed.IsZero() {
			service.Completed = time.Now()
			s.vertices.Draw(*service)
		}
	}
	return s.vertices.Close()
}

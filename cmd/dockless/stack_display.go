package main

import (
	"context"
	"fmt"
	"io"
	"time"

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
	if f, tty := terminalOf(w); tty {
		v, err := drawVertices(ctx, f, "Starting")
		if err != nil {
			return nil, err
		}
		return &stackVertices{vertices: v, services: make(map[string]*vertex)}, nil
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
		text = "  " + oneLine(e.Text)
	}
	say(l.w, "%6.2fs  %-12s %s%s\n", time.Since(l.start).Seconds(), e.Subject(), e.Kind, text)
}

func (l *stackLines) close() error { return nil }

// stackVertices draws each service as a vertex.
type stackVertices struct {
	vertices *vertices
	services map[string]*vertex
}

func (s *stackVertices) event(e podmanrun.Event) {
	service := s.services[e.Subject()]
	if service == nil {
		service = &vertex{id: e.Subject(), started: time.Now()}
		s.services[e.Subject()] = service
	}
	service.name = fmt.Sprintf("%s %s", e.Subject(), e.Kind)
	if e.Service == "" {
		service.name = string(e.Kind)
	}
	switch e.Kind {
	case podmanrun.EventUnhealthy:
		service.failed = "unhealthy"
		service.completed = time.Now()
	case podmanrun.EventKept, podmanrun.EventHealthy, podmanrun.EventExited, podmanrun.EventRemoved:
		service.completed = time.Now()
	case podmanrun.EventWarning:
		service.completed = time.Now()
	}
	s.vertices.draw(*service)
	if e.Text != "" {
		s.vertices.log(service.id, oneLine(e.Text))
	}
}

// close ends with what was started and needs no more: a service without a
// healthcheck has no further event.
func (s *stackVertices) close() error {
	for _, service := range s.services {
		if service.completed.IsZero() {
			service.completed = time.Now()
			s.vertices.draw(*service)
		}
	}
	return s.vertices.close()
}

package emulator

import (
	"maps"
	"slices"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// Route is a path with its placeholders, and the methods it takes.
type Route struct {
	Path    string
	Methods []string
}

// Routes returns every route of the server.
func Routes() []Route {
	var out []Route
	for _, l := range locations() {
		out = append(out, Route{"/" + l.route, slices.Sorted(maps.Keys(l.methods))})
	}
	return out
}

// MaxJSON is the largest JSON body.
const MaxJSON = maxJSON

// SetTimeout changes how long a job may run; a pipeline says it in minutes.
func (s *Server) SetTimeout(id job.ID, timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[id].timeout = timeout
}

// Timeout returns how long a job may run.
func (s *Server) Timeout(id job.ID) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id].timeout
}

// Save saves the registrations as if they had changed.
func (s *Server) Save() error {
	s.mu.Lock()
	s.unsaved = true
	s.mu.Unlock()
	return s.save()
}

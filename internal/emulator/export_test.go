package emulator

import (
	"encoding/json"
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

// MaxFaults is how many faults there can be.
const MaxFaults = maxFaults

// FaultKinds are all kinds of fault.
var FaultKinds = faultKinds

// ParseFault reads a fault as the control call does and checks it.
func ParseFault(text []byte) (Fault, error) {
	f, err := parseFault(text)
	if err != nil {
		return Fault{}, err
	}
	a, err := arm(f)
	return a.Fault, err
}

// ShowFault writes a fault as the control call lists it, without what the list adds.
func ShowFault(f Fault) ([]byte, error) {
	w := FaultEntry{Fault: f}.wire()
	return json.Marshal(map[string]any{"match": w.Match, "kind": w.Kind, "value": w.Value, "count": w.Count, "every": w.Every})
}

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

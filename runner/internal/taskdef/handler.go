package taskdef

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Handler is one way to run a part of a task.
type Handler struct {
	Name             string // as the file spells it
	Target           string // path below the folder of the task
	WorkingDirectory string // with macros; empty: the job's default
	Platforms        []string
	Node             int // major version of Node that it was written for; 0: not run by Node
}

// nodes are the handlers that Node runs. Which Node that is, is the agent's
// choice (protocol §8.4): the newest handler is preferred.
var nodes = map[string]int{"node24": 24, "node20_1": 20, "node16": 16, "node10": 10, "node": 6}

// readHandlers reads what Node runs. Of everything else only the name is kept,
// for messages: it needs another agent, perhaps one that does not exist yet.
func readHandlers(raw map[string]json.RawMessage) ([]Handler, error) {
	var out []Handler
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		node := nodes[strings.ToLower(name)]
		if node == 0 {
			out = append(out, Handler{Name: name})
			continue
		}
		var f struct {
			Target           text   `json:"target"`
			WorkingDirectory text   `json:"workingDirectory"`
			Platforms        []text `json:"platforms"`
		}
		if err := json.Unmarshal(raw[name], &f); err != nil {
			return nil, fmt.Errorf("handler %s: %w", name, err)
		}
		h := Handler{Name: name, Target: string(f.Target), WorkingDirectory: string(f.WorkingDirectory), Node: node}
		for _, p := range f.Platforms {
			h.Platforms = append(h.Platforms, string(p))
		}
		out = append(out, h)
	}
	return out, nil
}

// Handlers returns the names of all that the file offers for a part.
func (d *Definition) Handlers(p Part) []string {
	var names []string
	for _, h := range d.parts[p] {
		names = append(names, h.Name)
	}
	return names
}

// Node returns the handler with which a Node of this major version runs the
// part on platform, which is linux, darwin or windows. The newest one that is
// not newer than the Node is taken, one that names the platform before all
// others; when all are newer, the oldest of them. ok is false when the part has
// no handler for Node.
func (d *Definition) Node(p Part, major int, platform string) (h Handler, ok bool) {
	rank := func(h Handler) (preferred, fits bool) {
		preferred = slices.ContainsFunc(h.Platforms, func(p string) bool { return strings.EqualFold(p, platform) })
		return preferred, h.Node <= major
	}
	for _, next := range d.parts[p] {
		if next.Node == 0 {
			continue
		}
		if !ok {
			h, ok = next, true
			continue
		}
		preferred, fits := rank(next)
		bestPreferred, bestFits := rank(h)
		better := next.Node > h.Node
		switch {
		case fits != bestFits:
			better = fits
		case preferred != bestPreferred:
			better = preferred
		case !fits:
			better = next.Node < h.Node
		}
		if better {
			h = next
		}
	}
	return h, ok
}

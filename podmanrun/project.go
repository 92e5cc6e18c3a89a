package podmanrun

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/podmanrun/internal/composefile"
)

// Project is a set of services that live and die together, read by [Load] or
// made by [Services]. It is not changed by any method and may be shared.
type Project struct {
	compose  *types.Project
	warnings []string
	logins   map[string]Login                   // by service; of those that bring their own
	place    func(path string, err error) error // puts file and line of a key in front of err; nil without a file
}

// LoadOptions says what [Load] reads. Relative paths start at WorkingDir; Check is
// not for callers.
type LoadOptions = composefile.Options

// KeyError is a key of a compose file that cannot be honoured.
type KeyError = composefile.KeyError

// Load reads a compose project. A key that cannot be honoured is an error with
// file, line and column ([*KeyError]); one that means nothing without Swarm
// becomes a warning of the project.
func Load(ctx context.Context, o LoadOptions) (*Project, error) {
	o.Check = checkProject
	read, err := composefile.Load(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Project{compose: read.Compose, warnings: append(read.Warnings, remarks(read)...), place: read.At}, nil
}

// Name returns the project's name, which prefixes the names of what it makes.
func (p *Project) Name() string { return p.compose.Name }

// Warnings returns what was ignored and why, in the order of the files.
func (p *Project) Warnings() []string { return slices.Clone(p.warnings) }

// WithoutWarnings returns p for somebody who has told them.
func (p *Project) WithoutWarnings() *Project {
	out := *p
	out.warnings = nil
	return &out
}

// with returns p with other services, of the same files.
func (p *Project) with(compose *types.Project) *Project {
	out := *p
	out.compose = compose
	return &out
}

// ServiceNames returns the names of the active services in alphabetical order.
func (p *Project) ServiceNames() []string { return slices.Sorted(maps.Keys(p.compose.Services)) }

// YAML returns the project as one compose file: interpolated, merged, with
// every path made absolute.
func (p *Project) YAML() ([]byte, error) {
	data, err := p.compose.MarshalYAML()
	if err != nil {
		return nil, fmt.Errorf("writing project %s: %w", p.Name(), err)
	}
	return data, nil
}

// Conditions of a dependency, in compose's words.
const (
	ServiceStarted   = types.ServiceConditionStarted
	ServiceHealthy   = types.ServiceConditionHealthy
	ServiceCompleted = types.ServiceConditionCompletedSuccessfully
)

// Dependency is what a service waits for.
type Dependency struct {
	Service   string `json:"service"`
	Condition string `json:"condition"` // [ServiceStarted], [ServiceHealthy] or [ServiceCompleted]
}

// Step is one service in a [Plan].
type Step struct {
	Service string       `json:"service"`
	Image   string       `json:"image"`
	Wave    int          `json:"wave"` // services of one wave may start together; the first wave is 0
	After   []Dependency `json:"after,omitempty"`

	Replicas int      `json:"replicas"`           // containers
	Build    bool     `json:"build,omitempty"`    // the image is built here
	Networks []string `json:"networks,omitempty"` // names
	Volumes  []string `json:"volumes,omitempty"`  // names of named ones
}

// Plan returns the services of p in the order in which they may start:
// by wave, then by name.
func Plan(p *Project) []Step {
	waves := make(map[string]int, len(p.compose.Services))
	var wave func(name string) int
	wave = func(name string) int {
		if w, known := waves[name]; known {
			return w
		}
		w := 0
		for _, dep := range dependencies(p.compose, name) {
			w = max(w, wave(dep.Service)+1)
		}
		waves[name] = w
		return w
	}
	steps := make([]Step, 0, len(p.compose.Services))
	for _, name := range p.ServiceNames() {
		s := p.compose.Services[name]
		steps = append(steps, Step{
			Service: name,
			Image:   imageName(p.compose, s),
			Wave:    wave(name),
			After:   dependencies(p.compose, name),

			Replicas: s.GetScale(),
			Build:    s.Build != nil,
			Networks: networksOf(p.compose, s),
			Volumes:  volumesOf(p.compose, s),
		})
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return a.Wave - b.Wave })
	return steps
}

// dependencies returns what service name waits for, by name. A dependency that
// is not part of the project is left out: compose-go has refused it unless it
// is marked as not required.
func dependencies(p *types.Project, name string) []Dependency {
	var deps []Dependency
	needs := p.Services[name].DependsOn
	for _, dep := range slices.Sorted(maps.Keys(needs)) {
		if _, active := p.Services[dep]; active {
			deps = append(deps, Dependency{Service: dep, Condition: needs[dep].Condition})
		}
	}
	return deps
}

// imageName returns the image a service runs; one that is only built gets the
// name that compose gives it.
func imageName(p *types.Project, s types.ServiceConfig) string {
	if s.Image != "" {
		return s.Image
	}
	return p.Name + "-" + s.Name
}

// waitingFor returns the chain of services that cannot start because of failed:
// the service farthest away first, failed last. Only services for which waiting
// reports true take part; of several, the alphabetically first is followed.
func waitingFor(p *types.Project, failed string, waiting func(string) bool) []string {
	chain := []string{failed}
	for {
		next := ""
		for _, name := range slices.Sorted(maps.Keys(p.Services)) {
			_, depends := p.Services[name].DependsOn[chain[len(chain)-1]]
			if depends && waiting(name) && !slices.Contains(chain, name) {
				next = name
				break
			}
		}
		if next == "" {
			slices.Reverse(chain)
			return chain
		}
		chain = append(chain, next)
	}
}

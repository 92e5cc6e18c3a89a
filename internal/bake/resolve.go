package bake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// linkPrefix marks a named context that is another target.
const linkPrefix = "target:"

// Plan is the targets that are wanted and those that they are built from, with
// nothing left to resolve.
type Plan struct {
	Groups  map[string]*Group
	Targets map[string]*Target

	granted Access // by overrides
}

// MarshalJSON writes the plan as `docker buildx bake --print` does.
func (p *Plan) MarshalJSON() ([]byte, error) {
	targets := make(map[string]*Target, len(p.Targets))
	for name, t := range p.Targets {
		targets[name] = t.printed()
	}
	return json.Marshal(struct {
		Group  map[string]*Group  `json:"group,omitempty"`
		Target map[string]*Target `json:"target"`
	}{p.Groups, targets})
}

// Resolve makes a plan of files. What is wrong in a file is an [*Error]. Files
// that need buildx's own parser go to the plugin; when it is not installed, the
// error says what would need it.
func Resolve(ctx context.Context, files []File, o Options) (*Plan, error) {
	if len(o.Targets) == 0 {
		o.Targets = []string{"default"}
	}
	d, err := define(ctx, files, o)
	var p *Plan
	if e, ok := errors.AsType[*Error](err); ok && e.beyond {
		p, err = resolveByPlugin(ctx, files, o, e)
	} else if err == nil {
		p, err = d.plan(o)
	}
	if err != nil {
		return nil, err
	}
	p.granted = granted(o.Set)
	return p, nil
}

// resolver resolves the targets of a definition, each once.
type resolver struct {
	*definition
	overridden map[string][]override
	known      map[string]*Target
	plan       *Plan
}

func (d *definition) plan(o Options) (*Plan, error) {
	r := &resolver{definition: d, known: make(map[string]*Target), plan: &Plan{Groups: make(map[string]*Group), Targets: make(map[string]*Target)}}
	wanted, err := d.wanted(o.Targets)
	if err != nil {
		return nil, err
	}
	if r.overridden, err = d.overrides(o); err != nil {
		return nil, err
	}
	for _, name := range wanted {
		if err := r.want(name, nil); err != nil {
			return nil, err
		}
	}
	r.defaultGroup(wanted)
	for _, name := range slices.Sorted(maps.Keys(r.plan.Targets)) {
		if err := r.link(name, nil); err != nil {
			return nil, err
		}
	}
	if epoch, ok := o.lookup("SOURCE_DATE_EPOCH"); ok && epoch != "" {
		for _, t := range r.plan.Targets {
			t.Args = laid(map[string]string{"SOURCE_DATE_EPOCH": epoch}, t.Args)
		}
	}
	return r.plan, nil
}

// wanted turns patterns into names of groups and targets.
func (d *definition) wanted(patterns []string) ([]string, error) {
	var out []string
	for _, pattern := range patterns {
		pattern = targetName(pattern)
		if !strings.ContainsAny(pattern, "*?[]") {
			out = append(out, pattern)
			continue
		}
		found := len(out)
		for _, name := range d.names() {
			if ok, err := path.Match(pattern, name); err != nil {
				return nil, fmt.Errorf("the pattern %q is malformed: %w", pattern, err)
			} else if ok {
				out = append(out, name)
			}
		}
		if len(out) == found {
			return nil, d.missing(pattern)
		}
	}
	return unique(out), nil
}

// names returns those of groups and then those of targets.
func (d *definition) names() []string {
	var out []string
	for _, g := range d.groups {
		out = append(out, g.Name)
	}
	for _, t := range d.targets {
		out = append(out, t.Name)
	}
	return out
}

// want adds a target, or a group with all that is in it, to the plan. way is the
// groups that led here.
func (r *resolver) want(name string, way []string) error {
	g := r.group(name)
	if g != nil && slices.Contains(way, name) {
		// A group may be called like one of its targets.
		if way[len(way)-1] != name || r.target(name) == nil {
			return fmt.Errorf("groups contain each other: %s", strings.Join(append(slices.Clone(way), name), " → "))
		}
		g = nil
	}
	if g == nil {
		t, err := r.resolve(name, nil)
		if err == nil {
			r.plan.Targets[name] = t
		}
		return err
	}
	r.plan.Groups[name] = &Group{Name: name, Description: g.Description, Targets: slices.Clone(g.Targets)}
	way = append(slices.Clone(way), name)
	for _, member := range g.Targets {
		if err := r.want(member, way); err != nil {
			return err
		}
	}
	return nil
}

// defaultGroup makes the group default say what was wanted.
func (r *resolver) defaultGroup(wanted []string) {
	for _, name := range wanted {
		g := r.plan.Groups["default"]
		if g != nil && name == "default" {
			continue
		}
		if g == nil {
			g = &Group{Name: "default"}
			r.plan.Groups["default"] = g
		}
		g.Targets = append(g.Targets, name)
	}
	if g := r.plan.Groups["default"]; g != nil {
		slices.Sort(g.Targets)
		g.Targets = slices.Compact(g.Targets)
	}
}

// resolve returns a target with what it inherits and what overrides it.
func (r *resolver) resolve(name string, way []string) (*Target, error) {
	t, err := r.inherit(name, way)
	if err != nil {
		return nil, err
	}
	out := *t
	out.Inherits = nil
	return out.settled()
}

// inherit returns a target laid over those it inherits from, in their order.
func (r *resolver) inherit(name string, way []string) (*Target, error) {
	if t, ok := r.known[name]; ok {
		return t, nil
	}
	if slices.Contains(way, name) {
		return nil, fmt.Errorf("targets inherit from each other: %s", strings.Join(append(slices.Clone(way), name), " → "))
	}
	own := r.target(name)
	if own == nil {
		err := r.missing(name)
		if len(way) > 0 {
			err = fmt.Errorf("target %s: %w", way[len(way)-1], err)
		}
		return nil, err
	}
	way = append(slices.Clone(way), name)
	out := Target{Name: name}
	for _, parent := range own.Inherits {
		t, err := r.inherit(parent, way)
		if err != nil {
			return nil, err
		}
		out = out.overlay(t)
	}
	out, err := out.overlay(own).distinct().apply(r.overridden[name])
	if err != nil {
		return nil, err
	}
	out = out.normal()
	r.known[name] = &out
	return &out, nil
}

// link adds the targets that name is built from to the plan, and checks that
// they fit. way is the targets that led here.
func (r *resolver) link(name string, way []string) error {
	t := r.plan.Targets[name]
	if slices.Contains(way, name) {
		return fmt.Errorf("targets are built from each other: %s", strings.Join(append(slices.Clone(way), name), " → "))
	}
	way = append(slices.Clone(way), name)
	for _, base := range t.links() {
		b, ok := r.plan.Targets[base]
		if !ok {
			var err error
			if b, err = r.resolve(base, nil); err != nil {
				return fmt.Errorf("target %s: %w", name, err)
			}
			b.Outputs = []Entry{{"type": "cacheonly"}}
			r.plan.Targets[base] = b
		}
		if err := r.link(base, way); err != nil {
			return err
		}
		// What the base may do, its build as a part of this one may do.
		t.Entitlements = unique(slices.Concat(t.Entitlements, b.Entitlements))
		if len(t.Platforms) > 1 && len(b.Platforms) > 1 {
			for _, p := range t.Platforms {
				if !slices.Contains(b.Platforms, p) {
					return fmt.Errorf("target %s is built for %s, but %s, which it is built from, only for %s", name, p, base, strings.Join(b.Platforms, ", "))
				}
			}
		}
	}
	return nil
}

// links returns the targets that t is built from.
func (t *Target) links() []string {
	var out []string
	for _, where := range t.Contexts {
		if base, ok := strings.CutPrefix(where, linkPrefix); ok {
			out = append(out, base)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

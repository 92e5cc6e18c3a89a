package bake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Listed is a name that can be built.
type Listed struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Group       bool   `json:"group,omitempty"`
}

// Targets lists the targets and groups of files by name, but those that begin
// with an underscore, which are private.
func Targets(ctx context.Context, files []File, o Options) ([]Listed, error) {
	d, err := define(ctx, files, o)
	if e, ok := errors.AsType[*Error](err); ok && e.beyond {
		var out []Listed
		err := listByPlugin(ctx, files, o, e, "targets", &out)
		return out, err
	}
	if err != nil {
		return nil, err
	}
	out := []Listed{}
	for _, t := range d.targets {
		out = append(out, Listed{Name: t.Name, Description: t.Description})
	}
	for _, g := range d.groups {
		names := strings.Join(slices.Sorted(slices.Values(g.Targets)), ", ")
		description := g.Description
		switch {
		case description == "":
			description = names
		case names != "":
			description += " (" + names + ")"
		}
		out = append(out, Listed{Name: g.Name, Description: description, Group: true})
	}
	out = slices.DeleteFunc(out, func(l Listed) bool { return private(l.Name) })
	slices.SortStableFunc(out, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Variables lists the variables of files by name.
func Variables(ctx context.Context, files []File, o Options) ([]Variable, error) {
	d, err := define(ctx, files, o)
	if e, ok := errors.AsType[*Error](err); ok && e.beyond {
		var out []Variable
		err := listByPlugin(ctx, files, o, e, "variables", &out)
		return out, err
	}
	if err != nil {
		return nil, err
	}
	return d.vars.list()
}

// private reports whether a name is one for inheriting from only.
func private(name string) bool { return strings.HasPrefix(name, "_") }

// missing is the error for a name that nothing has.
func (d *definition) missing(name string) error {
	names := slices.DeleteFunc(d.names(), private)
	slices.Sort(names)
	err := fmt.Errorf("there is no target %q", name)
	if len(names) == 0 {
		return hint.With(err, "the files describe no target")
	}
	return hint.With(err, "there are %s", strings.Join(slices.Compact(names), ", "))
}

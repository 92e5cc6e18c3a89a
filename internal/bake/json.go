package bake

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// nameOK is what a target may be called.
var nameOK = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// maxMatrix bounds the targets that one matrix makes: more is a mistake, and
// eight axes of eight values would fill memory.
const maxMatrix = 1024

// definition is what files describe, each name once, before anything is
// inherited.
type definition struct {
	groups  []*Group
	targets []*Target
	vars    *variables
}

func (d *definition) group(name string) *Group {
	for _, g := range d.groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

func (d *definition) target(name string) *Target {
	for _, t := range d.targets {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// addTarget lays t over the target of its name.
func (d *definition) addTarget(t *Target) {
	if old := d.target(t.Name); old != nil {
		name := old.Name
		*old = old.overlay(t)
		old.Name = name
		return
	}
	d.targets = append(d.targets, t)
}

// addGroup replaces the group of g's name.
func (d *definition) addGroup(g *Group) {
	g.Targets = unique(g.Targets)
	if old := d.group(g.Name); old != nil {
		*old = *g
		return
	}
	d.groups = append(d.groups, g)
}

// addJSON adds all JSON files, which see each other's variables.
func (d *definition) addJSON(files []File) error {
	var groups, targets []block
	for _, f := range files {
		root, err := parseJSON(f.Name, f.Data)
		if err != nil {
			return err
		}
		members, ok := root.value.(object)
		if !ok {
			return root.errorf("a bake file is an object, not %s", kind(root.value))
		}
		for _, m := range members {
			if err := d.addTop(m, &groups, &targets); err != nil {
				return err
			}
		}
	}
	var errs []error
	for _, b := range targets {
		errs = append(errs, d.addTargetBlock(b))
	}
	for _, b := range groups {
		g, err := d.readGroup(b)
		if errs = append(errs, err); err == nil {
			d.addGroup(g)
		}
	}
	// A variable that nobody refers to may be wrong all the same.
	_, err := d.vars.list()
	return firstBeyond(append(errs, err))
}

// firstBeyond joins errors, but returns the one that another parser does not
// have alone: the files are then read by that.
func firstBeyond(errs []error) error {
	for _, err := range errs {
		if e, ok := errors.AsType[*Error](err); ok && e.beyond {
			return e
		}
	}
	return errors.Join(errs...)
}

// addTop adds one member of a file.
func (d *definition) addTop(m member, groups, targets *[]block) error {
	at := &node{file: m.value.file, line: m.line}
	switch m.key {
	case "//":
	case "function":
		return at.beyond("a function")
	case "variable":
		list, err := blocks(m.value)
		if err != nil {
			return err
		}
		for _, b := range list {
			if err := d.vars.declare(b); err != nil {
				return err
			}
		}
	case "group", "target":
		list, err := blocks(m.value)
		if err != nil {
			return err
		}
		for _, b := range list {
			if !nameOK.MatchString(b.name) {
				return hint.With(b.node.errorf("%q is no name for a %s", b.name, m.key), "use letters, digits, - and _")
			}
		}
		if m.key == "group" {
			*groups = append(*groups, list...)
		} else {
			*targets = append(*targets, list...)
		}
	case "groups", "targets", "variables", "functions":
		return hint.With(at.errorf("a bake file has no %q", m.key), "write %s", strings.TrimSuffix(m.key, "s"))
	default:
		if !strings.HasPrefix(m.key, "x-") {
			d.vars.declared[m.key] = &declared{at: at, fallback: m.value, fixed: true}
		}
	}
	return nil
}

func (d *definition) readGroup(b block) (*Group, error) {
	g := &Group{Name: b.name, Targets: []string{}}
	err := b.attributes(func(key string, n *node) (err error) {
		switch key {
		case "description":
			g.Description, err = asString(n, d.vars)
		case "targets":
			g.Targets, err = asStrings(n, d.vars)
		default:
			err = unknown(n, "a group", key, "description", "targets")
		}
		return err
	})
	return g, err
}

// matrixScope adds the values of one combination of a matrix.
type matrixScope struct {
	scope
	values map[string]any
}

func (m matrixScope) lookup(name string) (any, bool, error) {
	if v, ok := m.values[name]; ok {
		return v, true, nil
	}
	return m.scope.lookup(name)
}

// addTargetBlock adds a target, or those of its matrix and a group of them.
func (d *definition) addTargetBlock(b block) error {
	var name, matrix *node
	for _, m := range b.body {
		switch m.key {
		case "name":
			name = m.value
		case "matrix":
			matrix = m.value
		}
	}
	if matrix == nil {
		if name != nil {
			return hint.With(name.errorf("name of %s needs a matrix", b.name), "the key of a target is its name")
		}
		t, err := readTarget(b, b.name, d.vars)
		if err == nil {
			d.addTarget(t)
		}
		return err
	}
	scopes, err := d.combine(b, matrix)
	if err != nil {
		return err
	}
	made := []string{}
	for _, s := range scopes {
		target := b.name
		if name != nil {
			if target, err = asString(name, s); err != nil {
				return err
			}
			if !nameOK.MatchString(target) {
				return hint.With(name.errorf("%q is no name for a target", target), "use letters, digits, - and _")
			}
		}
		if slices.Contains(made, target) {
			return hint.With(matrix.errorf("the matrix of %s makes the target %s twice", b.name, target), "set name to a text with all variables of the matrix")
		}
		made = append(made, target)
		t, err := readTarget(b, target, s)
		if err != nil {
			return err
		}
		d.addTarget(t)
	}
	if len(made) != 1 || made[0] != b.name {
		d.addGroup(&Group{Name: b.name, Targets: made})
	}
	return nil
}

// combine returns one scope for each combination of a matrix.
func (d *definition) combine(b block, matrix *node) ([]scope, error) {
	axes, ok := matrix.value.(object)
	if !ok {
		return nil, matrix.errorf("the matrix of %s is %s, not an object", b.name, kind(matrix.value))
	}
	combinations := []map[string]any{{}}
	for _, axis := range axes {
		values, err := asList(axis.value, d.vars)
		if err != nil {
			return nil, err
		}
		if len(combinations)*len(values) > maxMatrix {
			return nil, matrix.errorf("the matrix of %s makes more than %d targets", b.name, maxMatrix)
		}
		var next []map[string]any
		for _, c := range combinations {
			for _, v := range values {
				more := map[string]any{axis.key: v}
				for k, old := range c {
					if k != axis.key {
						more[k] = old
					}
				}
				next = append(next, more)
			}
		}
		combinations = next
	}
	out := make([]scope, len(combinations))
	for i, c := range combinations {
		out[i] = matrixScope{scope: d.vars, values: c}
	}
	return out, nil
}

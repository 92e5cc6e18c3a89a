package bake

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// override is what all --set for one key of one target say.
type override struct {
	key, name string   // for example label and com.example.team; most keys have no names
	values    []string // more than one only for lists
	add       bool     // += to what there is
	clear     bool     // = nothing
}

// aliases are other names of keys.
var aliases = map[string]string{
	"annotation": "annotations", "arg": "args", "entitlement": "entitlements", "extra-host": "extra-hosts", "label": "labels",
	"platforms": "platform", "tag": "tags", "ulimit": "ulimits", "secrets": "secret",
}

// Keys of overrides by what they take.
var (
	listKeys  = []string{"output", "cache-to", "cache-from", "tags", "platform", "ssh", "attest", "entitlements", "annotations", "ulimits", "no-cache-filter", "secret"}
	mapKeys   = []string{"args", "contexts", "labels", "extra-hosts"}
	plainKeys = []string{"context", "dockerfile", "target", "call", "no-cache", "shm-size", "network", "pull", "push", "load"}
)

// parseSet reads one --set. An argument without a value has no values.
func parseSet(in string) (pattern string, o override, err error) {
	left, value, found := strings.Cut(in, "=")
	key, add := strings.CutSuffix(left, "+")
	parts := strings.SplitN(key, ".", 3)
	bad := func(format string, args ...any) error {
		return hint.With(fmt.Errorf("the override %q "+format, append([]any{in}, args...)...), "write --set TARGET.key=value, for example --set '*.platform=linux/arm64' or --set app.args.COLOR=blue")
	}
	if len(parts) < 2 || parts[0] == "" {
		return "", o, bad("names no key of a target")
	}
	o.key, o.add = parts[1], add
	if canonical, ok := aliases[o.key]; ok {
		o.key = canonical
	}
	if len(parts) == 3 {
		o.name = parts[2]
	}
	isList, isMap := slices.Contains(listKeys, o.key), slices.Contains(mapKeys, o.key)
	switch {
	case o.key == "policy" || o.key == "resource" || o.key == "resources":
		return "", o, bad("has the key %s, which is not supported", o.key)
	case !isList && !isMap && !slices.Contains(plainKeys, o.key):
		return "", o, bad("has the key %q, which does not exist", o.key)
	case isMap && o.name == "":
		return "", o, bad("lacks the name of one of %s", o.key)
	case !isMap && o.name != "" && o.key != "secret":
		return "", o, bad("has a name below %s", o.key)
	case add && (!isList || o.name != ""):
		return "", o, bad("adds to %s, which is no list", o.key)
	case !found && o.key != "args":
		return "", o, bad("has no value")
	case !found:
		return parts[0], o, nil
	case isList && o.name == "" && value == "" && !add:
		o.clear = true
	default:
		o.values = []string{value}
	}
	return parts[0], o, nil
}

// overrides sorts those of a plan by target. A pattern that matches no target is
// an error.
func (d *definition) overrides(o Options) (map[string][]override, error) {
	out := make(map[string][]override)
	for _, text := range o.Set {
		pattern, one, err := parseSet(text)
		if err != nil {
			return nil, err
		}
		if one.key == "args" && len(one.values) == 0 {
			v, ok := o.lookup(one.name)
			if !ok {
				continue
			}
			one.values = []string{v}
		}
		names, err := d.matching(pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out[name] = merged(out[name], one)
		}
	}
	return out, nil
}

// merged adds an override to those of a target: a later one replaces an earlier
// one of the same key, but the values of a list come together.
func merged(list []override, o override) []override {
	i := slices.IndexFunc(list, func(old override) bool { return old.key == o.key && old.name == o.name })
	if i < 0 {
		return append(list, o)
	}
	old := &list[i]
	if o.clear || !slices.Contains(listKeys, o.key) || o.name != "" {
		*old = o
		return list
	}
	old.values = slices.Concat(old.values, o.values)
	old.add = o.add && !old.clear
	return list
}

// matching returns the targets whose names match.
func (d *definition) matching(pattern string) ([]string, error) {
	if d.target(pattern) != nil {
		return []string{pattern}, nil
	}
	var out []string
	for _, t := range d.targets {
		ok, err := path.Match(pattern, t.Name)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q is malformed: %w", pattern, err)
		}
		if ok {
			out = append(out, t.Name)
		}
	}
	if len(out) == 0 {
		return nil, d.missing(pattern)
	}
	return out, nil
}

package bake

import (
	"maps"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// unknown is the error for a key that what does not have.
func unknown(n *node, what, key string, known ...string) error {
	at := &node{file: n.file, line: n.line}
	err := at.errorf("%s has no %q", what, key)
	for _, k := range known {
		if strings.EqualFold(strings.Trim(k, "s"), strings.Trim(strings.ReplaceAll(key, "_", "-"), "s")) {
			return hint.With(err, "write %s", k)
		}
	}
	return hint.With(err, "there are %s; a key that begins with x- is left alone", strings.Join(known, ", "))
}

// asString reads a text; a number and a boolean become one.
func asString(n *node, s scope) (string, error) {
	value, err := evaluate(n, s)
	if err != nil {
		return "", err
	}
	out, ok := text(value)
	if !ok {
		return "", n.errorf("there is %s where a string is wanted", kind(value))
	}
	return out, nil
}

// asText is asString for what may be null, which leaves it unset.
func asText(n *node, s scope) (*string, error) {
	value, err := evaluate(n, s)
	if err != nil || value == nil {
		return nil, err
	}
	out, ok := text(value)
	if !ok {
		return nil, n.errorf("there is %s where a string is wanted", kind(value))
	}
	return &out, nil
}

func asBool(n *node, s scope) (*bool, error) {
	value, err := evaluate(n, s)
	if err != nil || value == nil {
		return nil, err
	}
	b, ok := boolean(value)
	if !ok {
		return nil, n.errorf("there is %s where true or false is wanted", kind(value))
	}
	return &b, nil
}

// asList reads a list; null leaves it unset.
func asList(n *node, s scope) ([]any, error) {
	value, err := evaluate(n, s)
	if err != nil || value == nil {
		return nil, err
	}
	list, ok := value.([]any)
	if !ok {
		return nil, n.errorf("there is %s where a list is wanted", kind(value))
	}
	return list, nil
}

func asStrings(n *node, s scope) ([]string, error) {
	list, err := asList(n, s)
	if err != nil || list == nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, v := range list {
		var ok bool
		if out[i], ok = text(v); !ok {
			return nil, n.errorf("there is %s in a list of strings", kind(v))
		}
	}
	return out, nil
}

// asMap reads an object of strings. A null in it is left out.
func asMap(n *node, s scope) (map[string]string, error) {
	value, err := evaluate(n, s)
	if err != nil || value == nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, n.errorf("there is %s where an object is wanted", kind(value))
	}
	out := make(map[string]string, len(object))
	for k, v := range object {
		if v == nil {
			continue
		}
		if out[k], ok = text(v); !ok {
			return nil, n.errorf("%s is %s, not a string", k, kind(v))
		}
	}
	return out, nil
}

// asEntries reads a list of entries, each a text or an object.
func asEntries(n *node, s scope, f form) ([]Entry, error) {
	list, err := asList(n, s)
	if err != nil || list == nil {
		return nil, err
	}
	out := make([]Entry, 0, len(list))
	for _, v := range list {
		if v == "" {
			continue
		}
		var e Entry
		switch v := v.(type) {
		case string:
			e, err = f.parse(v)
		case map[string]any:
			e = make(Entry, len(v))
			for _, key := range slices.Sorted(maps.Keys(v)) {
				if v[key] == nil {
					continue
				}
				var ok bool
				if e[key], ok = text(v[key]); !ok {
					return nil, n.errorf("%s of a %s is %s, not a string", key, f.what, kind(v[key]))
				}
			}
			e, err = f.check(e)
		default:
			return nil, n.errorf("there is %s where a %s is wanted", kind(v), f.what)
		}
		if err != nil {
			return nil, relocated(n, err)
		}
		out = append(out, e)
	}
	return out, nil
}

// relocated gives an error of a value its place and keeps its hints.
func relocated(n *node, err error) error {
	out := n.errorf("%s", err.Error())
	for _, h := range slices.Backward(hint.All(err)) {
		out = hint.With(out, "%s", h)
	}
	return out
}

func asSSH(n *node, s scope) ([]SSH, error) {
	list, err := asList(n, s)
	if err != nil || list == nil {
		return nil, err
	}
	out := make([]SSH, 0, len(list))
	for _, v := range list {
		switch v := v.(type) {
		case string:
			if v != "" {
				out = append(out, parseSSH(v))
			}
		case map[string]any:
			id, ok := text(v["id"])
			if !ok {
				return nil, n.errorf("an ssh agent has no id")
			}
			agent := SSH{ID: id}
			paths, ok := v["paths"].([]any)
			if !ok && v["paths"] != nil {
				return nil, n.errorf("paths of an ssh agent is %s, not a list", kind(v["paths"]))
			}
			for _, p := range paths {
				path, ok := text(p)
				if !ok {
					return nil, n.errorf("a path of an ssh agent is %s", kind(p))
				}
				agent.Paths = append(agent.Paths, path)
			}
			out = append(out, agent)
		default:
			return nil, n.errorf("there is %s where an ssh agent is wanted", kind(v))
		}
	}
	return out, nil
}

package bake

import (
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
)

// Variable is one that files declare, with the value it has here.
type Variable struct {
	Name        string  `json:"name"`
	Description string  `json:"description,omitempty"`
	Type        string  `json:"type,omitempty"`
	Value       *string `json:"value,omitempty"` // nil is no value at all
}

// declared is a variable as a file writes it.
type declared struct {
	at          *node
	kind        string // string, number, bool, any; empty goes by the default
	fallback    *node  // nil is none
	description string
	fixed       bool // an attribute of the file, which the environment does not change
}

// variables evaluates those of all files, each when it is first asked for.
type variables struct {
	declared map[string]*declared
	builtin  map[string]string
	lookEnv  func(string) (string, bool)
	known    map[string]any
	pending  []string // being evaluated
}

func newVariables(lookEnv func(string) (string, bool)) *variables {
	return &variables{
		declared: make(map[string]*declared),
		builtin: map[string]string{
			"BAKE_CMD_CONTEXT":    herePrefix,
			"BAKE_LOCAL_PLATFORM": platforms.Format(platforms.DefaultSpec()),
		},
		lookEnv: lookEnv,
		known:   make(map[string]any),
	}
}

// declare reads one variable block. A later file replaces an earlier one's.
func (v *variables) declare(b block) error {
	d := &declared{at: b.node}
	err := b.attributes(func(key string, n *node) error {
		switch key {
		case "default":
			d.fallback = n
			return nil
		case "description":
			var err error
			d.description, err = asString(n, noScope{})
			return err
		case "type":
			name, ok := n.value.(string)
			if !ok || !slices.Contains([]string{"string", "number", "bool", "any"}, name) {
				return n.beyond("the type of " + b.name)
			}
			d.kind = name
			return nil
		case "validation":
			return n.beyond("the validation of " + b.name)
		default:
			return unknown(n, "a variable", key, "default", "description", "type", "validation")
		}
	})
	v.declared[b.name] = d
	return err
}

// lookup evaluates a variable.
func (v *variables) lookup(name string) (any, bool, error) {
	if value, ok := v.builtin[name]; ok {
		return value, true, nil
	}
	if value, ok := v.known[name]; ok {
		return value, true, nil
	}
	d, ok := v.declared[name]
	if !ok {
		return nil, false, nil
	}
	if slices.Contains(v.pending, name) {
		return nil, false, d.at.errorf("the variable %s is made of itself: %s", name, strings.Join(append(slices.Clone(v.pending), name), " → "))
	}
	v.pending = append(v.pending, name)
	value, err := v.value(name, d)
	v.pending = v.pending[:len(v.pending)-1]
	if err != nil {
		return nil, false, err
	}
	v.known[name] = value
	return value, true, nil
}

func (v *variables) value(name string, d *declared) (any, error) {
	var value any
	if d.fallback != nil {
		var err error
		if value, err = evaluate(d.fallback, v); err != nil {
			return nil, err
		}
		if value, err = convert(d.fallback, name, value, d.kind); err != nil {
			return nil, err
		}
	} else if d.kind == "" {
		value = ""
	}
	if d.fixed {
		return value, nil
	}
	set, isJSON, ok := v.override(name, d.kind != "")
	switch {
	case !ok:
		return value, nil
	case isJSON && d.kind != "":
		return nil, d.at.beyond("the value " + name + "_JSON of " + name)
	case d.kind == "any":
		return set, nil
	case d.kind != "":
		return convert(d.at, name, set, d.kind)
	}
	switch value.(type) {
	case nil, string:
		return set, nil
	case bool:
		return convert(d.at, name, set, "bool")
	case number:
		return convert(d.at, name, set, "number")
	}
	return nil, d.at.errorf("the environment sets %s, whose default is %s", name, kind(value))
}

// override returns what the environment has for a variable, under its name or
// as JSON under its name with _JSON, which typed variables prefer.
func (v *variables) override(name string, typed bool) (value string, isJSON, ok bool) {
	value, ok = v.lookEnv(name)
	if ok && !typed {
		return value, false, true
	}
	if _, taken := v.declared[name+"_JSON"]; !taken {
		if j, found := v.lookEnv(name + "_JSON"); found {
			return j, true, true
		}
	}
	return value, false, ok
}

// convert makes a value of a primitive type.
func convert(n *node, name string, value any, to string) (any, error) {
	if value == nil || to == "" || to == "any" {
		return value, nil
	}
	switch to {
	case "string":
		if s, ok := text(value); ok {
			return s, nil
		}
	case "bool":
		if b, ok := boolean(value); ok {
			return b, nil
		}
	case "number":
		switch v := value.(type) {
		case number:
			return v, nil
		case string:
			if _, ok := new(big.Float).SetString(v); ok {
				return plainNumber(n, json.Number(v))
			}
		}
	}
	if s, ok := text(value); ok {
		return nil, n.errorf("%s is %q, not a %s", name, s, to)
	}
	return nil, n.errorf("%s is %s, not a %s", name, kind(value), to)
}

func boolean(value any) (b, ok bool) {
	switch v := value.(type) {
	case bool:
		return v, true
	case string:
		b, err := strconv.ParseBool(v)
		return b, err == nil
	}
	return false, false
}

// list returns all variables by name.
func (v *variables) list() ([]Variable, error) {
	var (
		out  []Variable
		errs []error
	)
	for _, name := range slices.Sorted(maps.Keys(v.declared)) {
		d := v.declared[name]
		if d.fixed {
			continue
		}
		value, _, err := v.lookup(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		entry := Variable{Name: name, Description: d.description, Type: d.kind}
		if d.kind == "any" {
			entry.Type = "dynamic"
		}
		if value != nil {
			s, ok := text(value)
			if !ok {
				s = string(asJSON(value))
			}
			entry.Value = &s
		}
		out = append(out, entry)
	}
	return out, errors.Join(errs...)
}

// asJSON writes a value as HCL does.
func asJSON(value any) []byte {
	data, err := json.Marshal(plain(value))
	if err != nil {
		panic("a value of a JSON file is no JSON: " + err.Error())
	}
	return data
}

// plain turns numbers into those of encoding/json.
func plain(value any) any {
	switch v := value.(type) {
	case number:
		return json.Number(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = plain(v[k])
		}
		return out
	}
	return value
}

package bake

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// number is a number as HCL writes it: without an exponent and without zeros at
// the end.
type number string

// scope is what expressions can refer to.
type scope interface {
	// lookup returns the value of a variable and whether there is one.
	lookup(name string) (any, bool, error)
}

// noScope has no variables.
type noScope struct{}

func (noScope) lookup(string) (any, bool, error) { return nil, false, nil }

// evaluate returns the value of n: a string, a number, a bool, nil, a []any or a
// map[string]any.
func evaluate(n *node, s scope) (any, error) {
	switch v := n.value.(type) {
	case string:
		return expand(n, v, s)
	case json.Number:
		return plainNumber(n, v)
	case []*node:
		out := make([]any, len(v))
		for i, element := range v {
			var err error
			if out[i], err = evaluate(element, s); err != nil {
				return nil, err
			}
		}
		return out, nil
	case object:
		out := make(map[string]any, len(v))
		for _, m := range v {
			at := &node{file: n.file, line: m.line}
			key, err := expand(at, m.key, s)
			if err != nil {
				return nil, err
			}
			name, ok := text(key)
			if !ok {
				return nil, at.errorf("%s is no key: it has become %s", m.key, kind(key))
			}
			if out[name], err = evaluate(m.value, s); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return v, nil
	}
}

// maxExponent bounds the numbers of a file: as digits, 1e999999999 fills memory.
const maxExponent = 4096

func plainNumber(n *node, v json.Number) (any, error) {
	f, _, err := big.ParseFloat(v.String(), 10, 512, big.ToNearestEven)
	if err != nil || f.IsInf() || f.MantExp(nil) > maxExponent || f.MantExp(nil) < -maxExponent {
		return nil, n.errorf("the number %s is too large or too small", v)
	}
	return number(f.Text('f', -1)), nil
}

// referenceForm is a variable and a way into its value.
var (
	referenceForm = regexp.MustCompile(`^\s*([\pL_][\pL\pN_-]*)((?:\.[\pL_][\pL\pN_-]*|\[\d{1,6}\]|\["[^"\\$%]*"\])*)\s*\}`)
	step          = regexp.MustCompile(`\.([\pL_][\pL\pN_-]*)|\[(\d+)\]|\["([^"]*)"\]`)
)

// expand evaluates the template that every string is. One that is nothing but a
// reference has the value of the variable, of whatever type.
func expand(n *node, in string, s scope) (any, error) {
	var out strings.Builder
	rest := in
	for {
		i := strings.IndexAny(rest, "$%")
		if i < 0 {
			out.WriteString(rest)
			return out.String(), nil
		}
		out.WriteString(rest[:i])
		rest = rest[i:]
		switch {
		case strings.HasPrefix(rest, "$${"), strings.HasPrefix(rest, "%%{"):
			out.WriteString(rest[1:3])
			rest = rest[3:]
		case strings.HasPrefix(rest, "%{"):
			return nil, n.beyond("the directive " + excerpt(rest))
		case strings.HasPrefix(rest, "${"):
			match := referenceForm.FindStringSubmatch(rest[2:])
			if match == nil {
				return nil, n.beyond("the expression " + excerpt(rest))
			}
			value, err := resolve(n, match[1], match[2], s)
			if err != nil {
				return nil, err
			}
			used := rest[:2+len(match[0])]
			if used == in {
				return value, nil
			}
			part, ok := text(value)
			if !ok {
				return nil, n.errorf("%s cannot be part of a text: it is %s", used, kind(value))
			}
			out.WriteString(part)
			rest = rest[len(used):]
		default:
			out.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
}

// excerpt is enough of an expression to find it.
func excerpt(in string) string {
	const enough = 40
	if end := strings.IndexByte(in, '}'); end >= 0 && end < enough {
		return in[:end+1]
	}
	if runes := []rune(in); len(runes) > enough {
		return string(runes[:enough]) + "…"
	}
	return in
}

// resolve returns the value of a reference.
func resolve(n *node, name, path string, s scope) (any, error) {
	value, ok, err := s.lookup(name)
	switch {
	case err != nil:
		return nil, err
	case !ok && (name == "target" || name == "group") && path != "":
		return nil, n.beyond("the reference ${" + name + path + "}")
	case !ok && (name == "true" || name == "false" || name == "null"):
		return nil, n.beyond("the expression ${" + name + "}")
	case !ok:
		return nil, n.errorf("there is no variable %s", name)
	}
	for _, m := range step.FindAllStringSubmatch(path, -1) {
		found := false
		switch v := value.(type) {
		case map[string]any:
			value, found = v[m[1]+m[3]]
		case []any:
			if i, err := strconv.Atoi(m[2]); err == nil && i < len(v) {
				value, found = v[i], true
			}
		}
		if !found {
			return nil, n.errorf("%s has no %s", name, m[0])
		}
	}
	return value, nil
}

// text returns a value as a string, and whether it can be one.
func text(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case number:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

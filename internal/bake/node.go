package bake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Error is a mistake in a bake file.
type Error struct {
	File string
	Line int // counted from one; zero when it is in no line
	Text string

	beyond bool // an expression that only buildx's own parser evaluates
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// node is one JSON value and where it begins. Its value is a string, a
// json.Number, a bool, nil, a []*node or an object.
type node struct {
	file  string
	line  int
	what  string // how errors name it; empty where the line says enough
	value any
}

// object is the members of a JSON object in the order of the file; a key may
// come more than once.
type object []member

type member struct {
	key   string
	line  int
	value *node
}

func (n *node) errorf(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if n.what != "" {
		text = n.what + ": " + text
	}
	return &Error{File: n.file, Line: n.line, Text: text}
}

// beyond is an error that another parser does not have.
func (n *node) beyond(what string) error {
	return &Error{File: n.file, Line: n.line, Text: what + " is evaluated by the buildx plugin only", beyond: true}
}

// parseJSON reads a JSON document and keeps the lines of everything in it.
func parseJSON(file string, data []byte) (*node, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		e := &Error{File: file, Line: 1 + bytes.Count(data, []byte("\n")), Text: err.Error()}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			e.Line = 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
		}
		return nil, hint.With(e, "write JSON without comments and without a comma before a closing bracket")
	}
	r := &reader{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.dec.UseNumber()
	return r.value()
}

// reader turns the tokens of a valid document into nodes.
type reader struct {
	file string
	data []byte
	dec  *json.Decoder
	at   int // bytes whose lines are counted
	line int // line of the byte at
}

// token returns the next token and the line it ends in, which is the one it
// begins in: no token of JSON has a line break.
func (r *reader) token() (json.Token, int, error) {
	t, err := r.dec.Token()
	if err != nil {
		return nil, 0, &Error{File: r.file, Line: r.line, Text: err.Error()}
	}
	end := int(r.dec.InputOffset())
	r.line += bytes.Count(r.data[r.at:end], []byte("\n"))
	r.at = end
	return t, r.line, nil
}

func (r *reader) value() (*node, error) {
	t, line, err := r.token()
	if err != nil {
		return nil, err
	}
	n := &node{file: r.file, line: line, value: t}
	delim, ok := t.(json.Delim)
	if !ok {
		return n, nil
	}
	if delim == '[' {
		list := []*node{}
		for r.dec.More() {
			element, err := r.value()
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		n.value = list
	} else {
		members := object{}
		for r.dec.More() {
			key, line, err := r.token()
			if err != nil {
				return nil, err
			}
			v, err := r.value()
			if err != nil {
				return nil, err
			}
			members = append(members, member{key: key.(string), line: line, value: v}) //nolint:forcetypeassert // a valid document
		}
		n.value = members
	}
	_, _, err = r.token() // the closing bracket
	return n, err
}

// kind names what a value is, for errors.
func kind(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number, number:
		return "a number"
	case []*node, []any:
		return "a list"
	default:
		return "an object"
	}
}

// block is one labelled part of a file, such as a target.
type block struct {
	name string
	node *node // of the label
	body object
}

// blocks reads {label: body} in the forms that HCL's JSON has: a list of such
// objects, and a list of bodies for a label, are several blocks.
func blocks(n *node) ([]block, error) {
	var out []block
	for _, labelled := range elements(n) {
		members, ok := labelled.value.(object)
		if !ok {
			return nil, labelled.errorf("there is %s where an object of names is wanted", kind(labelled.value))
		}
		for _, m := range members {
			at := &node{file: n.file, line: m.line}
			for _, body := range elements(m.value) {
				members, ok := body.value.(object)
				if !ok {
					return nil, body.errorf("%s is %s, not an object", m.key, kind(body.value))
				}
				out = append(out, block{name: m.key, node: at, body: members})
			}
		}
	}
	return out, nil
}

// elements returns the elements of a list, else n itself.
func elements(n *node) []*node {
	if list, ok := n.value.([]*node); ok {
		return list
	}
	return []*node{n}
}

// attributes calls each for every member of a body but comments, and refuses one
// that comes twice.
func (b block) attributes(each func(key string, n *node) error) error {
	seen := make(map[string]int)
	for _, m := range b.body {
		if m.key == "//" || strings.HasPrefix(m.key, "x-") {
			continue
		}
		at := &node{file: b.node.file, line: m.line}
		if first, twice := seen[m.key]; twice {
			return at.errorf("%s of %s is set already in line %d", m.key, b.name, first)
		}
		seen[m.key] = m.line
		named := *m.value
		named.what = m.key + " of " + b.name
		if err := each(m.key, &named); err != nil {
			return err
		}
	}
	return nil
}

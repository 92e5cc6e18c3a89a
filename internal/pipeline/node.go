package pipeline

import (
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
)

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mappingNode
	sequenceNode
)

func (k nodeKind) String() string {
	return [...]string{"scalar", "mapping", "sequence"}[k]
}

// position is a place in a file; an empty file is the one that is being loaded.
type position struct {
	line, column int
	file         string // as messages show it
}

// node is one part of a pipeline file: a scalar with its text, or a collection. Scalars
// stay text; only style tells a plain true from a quoted one.
type node struct {
	kind  nodeKind
	pos   position
	text  string
	plain bool // a scalar without quotes or block indicator
	pairs []pair
	items []*node
	taken map[string]bool // keys in lower case; made by add
}

type pair struct{ key, value *node }

func newScalar(pos position, text string) *node {
	return &node{kind: scalarNode, pos: pos, text: text}
}

// get returns the value of key, compared exactly, or nil.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if p.key.text == key {
			return p.value
		}
	}
	return nil
}

// add adds p to a mapping and reports false, adding nothing, when its key is there
// already, in whatever case. The pairs of such a mapping are only added by this method.
func (n *node) add(p pair) bool {
	if n.taken == nil {
		n.taken = make(map[string]bool)
		for _, other := range n.pairs {
			n.taken[strings.ToLower(other.key.text)] = true
		}
	}
	key := strings.ToLower(p.key.text)
	if n.taken[key] {
		return false
	}
	n.taken[key] = true
	n.pairs = append(n.pairs, p)
	return true
}

// isEmpty reports whether n is the empty scalar, which a key without a value has.
func (n *node) isEmpty() bool {
	return n == nil || n.kind == scalarNode && strings.TrimSpace(n.text) == ""
}

// value returns n as expressions see it inside an object parameter. Plain true, false
// and null have their own kinds, and so has a plain number, unless its text would
// change: a version 3.10 must not become 3.1.
func (n *node) value() expr.Value {
	switch n.kind {
	case mappingNode:
		m := new(expr.Map)
		for _, p := range n.pairs {
			m.Set(p.key.text, p.value.value())
		}
		return expr.MappingOf(m)
	case sequenceNode:
		items := make([]expr.Value, len(n.items))
		for i, item := range n.items {
			items[i] = item.value()
		}
		return expr.List(items...)
	case scalarNode:
	}
	if !n.plain {
		return expr.Text(n.text)
	}
	switch strings.ToLower(n.text) {
	case "true":
		return expr.Bool(true)
	case "false":
		return expr.Bool(false)
	case "null", "~", "":
		return expr.Value{}
	}
	if number, ok := expr.ParseNumber(n.text); ok {
		if text, _ := number.Text(); text == n.text {
			return number
		}
	}
	return expr.Text(n.text)
}

// fromValue returns the node that an expression's value becomes at pos.
func fromValue(v expr.Value, pos position) *node {
	switch v.Kind() {
	case expr.Array:
		n := &node{kind: sequenceNode, pos: pos}
		for _, item := range v.Items() {
			n.items = append(n.items, fromValue(item, pos))
		}
		return n
	case expr.Object:
		n := &node{kind: mappingNode, pos: pos}
		for key, value := range v.Mapping().All() {
			n.pairs = append(n.pairs, pair{newScalar(pos, key), fromValue(value, pos)})
		}
		return n
	case expr.Null, expr.Boolean, expr.Number, expr.String, expr.Version, expr.DateTime:
	}
	text, _ := v.Text()
	n := newScalar(pos, text)
	n.plain = v.Kind() != expr.String
	return n
}

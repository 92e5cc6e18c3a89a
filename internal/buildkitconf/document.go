package buildkitconf

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// node is a value of a TOML document and the line it stands on, counted from one.
type node struct {
	kind  unstable.Kind // Table, Array or that of a scalar
	line  int
	text  string           // of a scalar, as written; of a string, its content
	items []*node          // of an array
	keys  map[string]*node // of a table
	order []string         // of keys
}

func newTable(line int) *node {
	return &node{kind: unstable.Table, line: line, keys: make(map[string]*node)}
}

// parse reads a document. A mistake in its syntax is a finding.
func parse(document string) (*node, *Finding) {
	var checked map[string]any // its errors cover what the parser below lets pass, such as a key given twice
	if err := toml.Unmarshal([]byte(document), &checked); err != nil {
		f := &Finding{Level: Fault, Rule: "syntax", Text: "buildkitd does not start with this: " + err.Error()}
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			f.Line, _ = at.Position()
			f.Text = "buildkitd does not start with this: " + strings.TrimPrefix(at.Error(), "toml: ")
		}
		return nil, f
	}
	var p unstable.Parser
	p.Reset([]byte(document))
	d := &reader{p: &p, lines: lineStarts(document)}
	root := newTable(1)
	in := root
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			in = d.open(root, e, false)
		case unstable.ArrayTable:
			in = d.open(root, e, true)
		case unstable.KeyValue:
			d.assign(in, e)
		}
	}
	if err := p.Error(); err != nil {
		return nil, &Finding{Level: Fault, Rule: "syntax", Text: "buildkitd does not start with this: " + err.Error()}
	}
	return root, nil
}

// reader makes nodes of the parser's expressions.
type reader struct {
	p     *unstable.Parser
	lines []int // offsets at which lines start
}

func lineStarts(document string) []int {
	starts := []int{0}
	for i := range len(document) {
		if document[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// line returns the line of a key. The parser knows places of what it has copied
// nothing of, which holds for every key.
func (d *reader) line(n *unstable.Node) int {
	offset := int(n.Raw.Offset)
	low, high := 0, len(d.lines)
	for low+1 < high {
		if mid := (low + high) / 2; d.lines[mid] <= offset {
			low = mid
		} else {
			high = mid
		}
	}
	return low + 1
}

// open finds or makes the table that a header names.
func (d *reader) open(root *node, e *unstable.Node, array bool) *node {
	in := root
	for it := e.Key(); it.Next(); {
		in = in.enter(string(it.Node().Data), d.line(it.Node()), array && it.IsLast())
	}
	return in
}

// enter returns the table under a key: of an array of tables, the last, or a
// further one. A document that passed the check above puts nothing else there.
func (n *node) enter(key string, line int, further bool) *node {
	next, ok := n.keys[key]
	switch {
	case !ok && further:
		next = &node{kind: unstable.Array, line: line}
		n.put(key, next)
	case !ok:
		next = newTable(line)
		n.put(key, next)
	}
	if next.kind != unstable.Array {
		if next.keys == nil {
			next.keys = make(map[string]*node)
		}
		return next
	}
	if further || len(next.items) == 0 {
		next.items = append(next.items, newTable(line))
	}
	return next.items[len(next.items)-1]
}

func (n *node) put(key string, value *node) {
	if n.keys == nil {
		n.keys = make(map[string]*node)
	}
	if _, ok := n.keys[key]; !ok {
		n.order = append(n.order, key)
	}
	n.keys[key] = value
}

func (d *reader) assign(in *node, e *unstable.Node) {
	line := 0
	for it := e.Key(); it.Next(); {
		key := string(it.Node().Data)
		line = d.line(it.Node())
		if it.IsLast() {
			in.put(key, d.value(e.Value(), line))
			return
		}
		in = in.enter(key, line, false)
	}
}

func (d *reader) value(v *unstable.Node, line int) *node {
	switch v.Kind {
	case unstable.InlineTable:
		n := newTable(line)
		for it := v.Children(); it.Next(); {
			d.assign(n, it.Node())
		}
		return n
	case unstable.Array:
		n := &node{kind: unstable.Array, line: line}
		for it := v.Children(); it.Next(); {
			n.items = append(n.items, d.value(it.Node(), line))
		}
		return n
	}
	return &node{kind: v.Kind, line: line, text: string(v.Data)}
}

// get returns what lies under keys, each in any case; nil when there is nothing.
func (n *node) get(path ...string) *node {
	for _, key := range path {
		if n == nil {
			return nil
		}
		next, ok := n.keys[key]
		if !ok {
			for name, candidate := range n.keys {
				if strings.EqualFold(name, key) {
					next = candidate
				}
			}
		}
		n = next
	}
	return n
}

// isTrue and isFalse tell a boolean that was written from one that was not.
func (n *node) isTrue() bool  { return n != nil && n.kind == unstable.Bool && n.text == "true" }
func (n *node) isFalse() bool { return n != nil && n.kind == unstable.Bool && n.text == "false" }

func (n *node) string() string {
	if n == nil || n.kind != unstable.String {
		return ""
	}
	return n.text
}

func (n *node) strings() []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, item := range n.items {
		out = append(out, item.string())
	}
	return out
}

// space reads an amount of disk; zero when it is none.
func (n *node) space() space {
	if n == nil {
		return space{}
	}
	s, err := parseSpace(strings.ReplaceAll(n.text, "_", ""))
	if err != nil {
		return space{}
	}
	return s
}

// duration reads a time as buildkitd does.
func (n *node) duration() (time.Duration, bool) {
	if n == nil || n.text == "" {
		return 0, true
	}
	if d, err := time.ParseDuration(n.text); err == nil {
		return d, true
	}
	seconds, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 10, 64)
	return time.Duration(seconds) * time.Second, err == nil
}

// Root returns the root directory that a configuration names; empty when it
// names none or is not readable.
func Root(document string) string {
	n, wrong := parse(document)
	if wrong != nil {
		return ""
	}
	return n.get("root").string()
}

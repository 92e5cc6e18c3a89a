package pipeline

import (
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
)

// chain follows if, elseif and else among siblings.
type chain struct {
	open  bool // the last sibling was if or elseif
	taken bool // one branch of the chain has been chosen
}

// mapping evaluates the pairs of n into a new mapping.
func (e *expander) mapping(n *node, s names, r role) *node {
	out := &node{kind: mappingNode, pos: n.pos}
	if r == roleRoot || r == roleStage || r == roleJob {
		if r != roleRoot {
			s = s.nested()
		}
		// The rest of a stage or job sees its variables wherever they stand.
		for i, p := range n.pairs {
			if p.key.text == "variables" {
				out.pairs = append(out.pairs, pair{p.key, e.node(p.value, s, roleVariables)})
				n = without(n, i)
				break
			}
		}
	}
	e.pairs(out, n, s, r)
	if r == roleVariable {
		s.define(out)
	}
	return out
}

func without(n *node, i int) *node {
	rest := &node{kind: n.kind, pos: n.pos}
	rest.pairs = append(append(rest.pairs, n.pairs[:i]...), n.pairs[i+1:]...)
	return rest
}

// define makes one entry of a list of variables known to the expressions after it.
func (s names) define(entry *node) {
	if name, value := entry.get("name"), entry.get("value"); name != nil && value != nil && value.kind == scalarNode {
		s.variables.Set(name.text, expr.Text(value.text))
	}
}

// defineAll makes a whole block of variables known.
func (s names) defineAll(block *node) {
	for _, p := range block.pairs {
		if p.value.kind == scalarNode {
			s.variables.Set(p.key.text, expr.Text(p.value.text))
		}
	}
	for _, item := range block.items {
		s.define(item)
	}
}

// pairs evaluates the pairs of n and adds them to out.
func (e *expander) pairs(out, n *node, s names, r role) {
	var branch chain
	for _, p := range n.pairs {
		d, ok := e.directive(p.key)
		switch {
		case !ok:
		case r == roleVerbatim || d.word == "":
			branch = chain{}
			e.pair(out, p, s, r)
		default:
			e.inMapping(out, p, d, &branch, s, r)
		}
	}
}

// pair evaluates an ordinary pair and adds it to out.
func (e *expander) pair(out *node, p pair, s names, r role) {
	if !e.spend(p.key) {
		return
	}
	key := p.key
	if r != roleVerbatim {
		var ok bool
		if key, ok = e.key(p.key, s); !ok {
			return
		}
	}
	child := r.child(key.text)
	if r == roleVerbatim {
		child = roleVerbatim
	}
	value := e.node(p.value, s, child)
	e.insert(out, pair{key, value})
	if r == roleVariables && value.kind == scalarNode {
		s.variables.Set(key.text, expr.Text(value.text))
	}
}

// insert adds p to out, where its key must be new.
func (e *expander) insert(out *node, p pair) {
	if strings.TrimSpace(p.key.text) == "" {
		e.add(p.key, "Expected a non-empty string")
		return
	}
	if !out.add(p) {
		e.add(p.key, "'%s' is already defined", p.key.text)
	}
}

// inMapping applies a directive among the pairs of a mapping.
func (e *expander) inMapping(out *node, p pair, d directive, branch *chain, s names, r role) {
	e.apply(p, d, branch, s, func(body *node, s names) {
		if body.kind == scalarNode {
			if body = e.node(body, s, r); body.isEmpty() {
				return
			}
			if body.kind == mappingNode { // evaluated already
				for _, p := range body.pairs {
					e.insert(out, p)
				}
				return
			}
		}
		if body.kind != mappingNode {
			e.add(body, "Expected a mapping")
			return
		}
		e.pairs(out, body, s, r)
	})
}

// apply runs use on the body of a directive as often as the directive says.
func (e *expander) apply(p pair, d directive, branch *chain, s names, use func(body *node, s names)) {
	if !e.spend(p.key) {
		return
	}
	before := *branch
	*branch = chain{}
	switch d.word {
	case "if", "elseif", "else":
		if d.word != "if" && !before.open {
			e.add(p.key, "The directive '%s' must follow 'if' or 'elseif'", d.word)
			return
		}
		if d.word == "if" {
			before.taken = false
		}
		holds := !before.taken
		if holds && d.word != "else" {
			value, ok := e.eval(p.key, d.text, s)
			holds = ok && value.Truthy()
			before.taken = !ok // after a mistake no branch is right
		} else if err := checkExpression(d.word + " " + d.text); err != nil {
			e.add(p.key, "%s", err)
		}
		*branch = chain{open: d.word != "else", taken: before.taken || holds}
		if !holds {
			e.checkSyntax(p.value)
			return
		}
		use(p.value, s)
	case "insert":
		use(p.value, s)
	case "each":
		e.each(p, d, s, use)
	}
}

func (e *expander) each(p pair, d directive, s names, use func(*node, names)) {
	value, ok := e.eval(p.key, d.text, s)
	if !ok {
		return
	}
	switch value.Kind() {
	case expr.Array:
		for _, item := range value.Items() {
			use(p.value, s.with(d.variable, item))
		}
	case expr.Object:
		for key, item := range value.Mapping().All() {
			entry := new(expr.Map)
			entry.Set("key", expr.Text(key))
			entry.Set("value", item)
			use(p.value, s.with(d.variable, expr.MappingOf(entry)))
		}
	case expr.Null:
		e.checkSyntax(p.value)
	case expr.Boolean, expr.Number, expr.String, expr.Version, expr.DateTime:
		e.add(p.key, "Expected a sequence or mapping, and the expression is a %s", value.Kind())
	}
}

// sequence evaluates the items of n into a new sequence.
func (e *expander) sequence(n *node, s names, r role) *node {
	out := &node{kind: sequenceNode, pos: n.pos}
	e.items(out, n, s, r)
	return out
}

func (e *expander) items(out, n *node, s names, r role) {
	var branch chain
	for _, item := range n.items {
		if r != roleVerbatim && e.spliced(out, item, &branch, s, r) {
			continue
		}
		branch = chain{}
		if r != roleVerbatim && item.kind == scalarNode && strings.Contains(item.text, "${{") {
			e.scalarItem(out, item, s, r)
			continue
		}
		e.addItem(out, e.node(item, s, r.item()), s, r)
	}
}

// scalarItem adds what an expression as item becomes: nothing for null, the items of a
// list, or one value.
func (e *expander) scalarItem(out, item *node, s names, r role) {
	value, ok := e.scalar(item, s)
	switch {
	case !ok || !e.spend(item):
	case value.kind == scalarNode && value.plain && value.text == "":
	case value.kind == sequenceNode:
		for _, one := range value.items {
			if e.spend(one) {
				e.addItem(out, one, s, r)
			}
		}
	default:
		e.addItem(out, value, s, r)
	}
	if r == roleVariables && ok {
		s.define(value)
		s.defineAll(&node{items: value.items})
	}
}

// spliced handles an item that is a mapping of nothing but directives, and reports
// whether it was one.
func (e *expander) spliced(out, item *node, branch *chain, s names, r role) bool {
	if item.kind != mappingNode || len(item.pairs) == 0 {
		return false
	}
	directives := make([]directive, len(item.pairs))
	for i, p := range item.pairs {
		d, ok := e.directive(p.key)
		if ok && d.word == "" {
			return false
		}
		directives[i] = d
	}
	merged := &node{kind: mappingNode, pos: item.pos}
	for i, p := range item.pairs {
		if directives[i].word == "" {
			continue // reported
		}
		e.inSequence(out, merged, p, directives[i], branch, s, r)
	}
	if len(merged.pairs) > 0 {
		if r == roleVariables {
			s.define(merged)
		}
		e.addItem(out, merged, s, r)
	}
	return true
}

// inSequence applies a directive that is an item. A body with items is spliced into
// out; the pairs of a body that is a mapping make up one item, merged.
func (e *expander) inSequence(out, merged *node, p pair, d directive, branch *chain, s names, r role) {
	e.apply(p, d, branch, s, func(body *node, s names) {
		switch body.kind {
		case sequenceNode:
			e.items(out, body, s, r)
		case mappingNode:
			e.pairs(merged, body, s, r.item())
		case scalarNode:
			value, ok := e.scalar(body, s)
			switch {
			case !ok || value.isEmpty():
			case value.kind == sequenceNode:
				for _, one := range value.items {
					e.addItem(out, one, s, r)
				}
			case value.kind == mappingNode:
				e.addItem(out, value, s, r)
			default:
				e.add(body, "Expected a sequence")
			}
		}
	})
}

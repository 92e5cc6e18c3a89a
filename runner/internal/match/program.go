package match

// program is the pattern of an element as steps that lead from one to the next.
// Whether a step succeeds at a place in a name depends on nothing before it, so
// each is tried there once: a match takes at most steps times characters.
type program struct {
	steps []stepOf
	start int
	wild  bool // the first step is a wildcard, which "." and ".." never match
	dots  bool // and which other names with a dot in front match
}

// stepOf is one step. The zero value ends a program at the end of the name only.
type stepOf struct {
	op   op
	node *node
	next int
	or   int // of a fork: the other way; of a check: what must not match here
}

type op byte

const (
	end   op = iota // nothing is left
	done            // whatever is left
	take            // one character that the node stands for
	fork            // either way
	check           // or leads nowhere
)

// way is where a node leads, for the pattern itself and for a negation in front
// that looks ahead: the one asks for the end of the name, the other does not.
type way struct{ pattern, ahead int }

// assemble makes a program of nodes.
func assemble(nodes []node, noDots bool) *program {
	p := &program{steps: []stepOf{{op: end}, {op: done}}, wild: nodes[0].kind != letter, dots: !noDots}
	p.start = p.sequence(nodes, way{0, 1}, true).pattern
	return p
}

func (p *program) add(s stepOf) int {
	p.steps = append(p.steps, s)
	return len(p.steps) - 1
}

// sequence adds nodes that lead to next. Last says that nothing follows them.
func (p *program) sequence(nodes []node, next way, last bool) way {
	for i := len(nodes) - 1; i >= 0; i-- {
		next = p.node(&nodes[i], next, last)
		last = false
	}
	return next
}

// both adds one step to either way.
func (p *program) both(next way, add func(next int) int) way {
	return way{add(next.pattern), add(next.ahead)}
}

func (p *program) node(n *node, next way, last bool) way {
	switch n.kind {
	case many:
		return p.both(next, func(next int) int { return p.loop(n, next) })
	case group:
		return p.group(n, next, last)
	default:
		return p.both(next, func(next int) int { return p.add(stepOf{op: take, node: n, next: next}) })
	}
}

// loop adds any number of characters.
func (p *program) loop(n *node, next int) int {
	f := p.add(stepOf{op: fork, or: next})
	p.steps[f].next = p.add(stepOf{op: take, node: n, next: f})
	return f
}

func (p *program) group(n *node, next way, last bool) way {
	switch n.repeat {
	case '!':
		// The alternatives and what follows must not stand here, up to the end of
		// the name when nothing follows; then it may be anything.
		ahead := way{next.ahead, next.ahead}
		if last {
			ahead = way{0, 0}
		}
		not := p.either(n, ahead, last).pattern
		anything := &node{kind: many}
		return p.both(next, func(next int) int {
			return p.add(stepOf{op: check, next: p.loop(anything, next), or: not})
		})
	case '*', '+':
		again := p.both(next, func(next int) int { return p.add(stepOf{op: fork, or: next}) })
		once := p.either(n, again, last)
		p.steps[again.pattern].next, p.steps[again.ahead].next = once.pattern, once.ahead
		if n.repeat == '*' {
			return again
		}
		return once
	case '?':
		some := p.either(n, next, last)
		return way{
			p.add(stepOf{op: fork, next: some.pattern, or: next.pattern}),
			p.add(stepOf{op: fork, next: some.ahead, or: next.ahead}),
		}
	default:
		return p.either(n, next, last)
	}
}

// either adds the alternatives of a group.
func (p *program) either(n *node, next way, last bool) way {
	ways := p.sequence(n.either[0], next, last)
	for _, nodes := range n.either[1:] {
		other := p.sequence(nodes, next, last)
		ways = way{
			p.add(stepOf{op: fork, next: ways.pattern, or: other.pattern}),
			p.add(stepOf{op: fork, next: ways.ahead, or: other.ahead}),
		}
	}
	return ways
}

// match reports whether the program matches name.
func (p *program) match(name string) bool {
	switch {
	case name == "":
		return false
	case p.wild && (name == "." || name == ".." || !p.dots && name[0] == '.'):
		return false
	}
	r := run{p: p, name: []rune(name), checks: make(map[place]bool)}
	return r.leads(place{p.start, 0})
}

// place is a step and where in the name it is tried.
type place struct{ step, at int }

// run is one match.
type run struct {
	p      *program
	name   []rune
	checks map[place]bool // what looking ahead from there came to
}

// leads reports whether a way from there leads to an end of the program.
func (r *run) leads(from place) bool {
	seen := make([]bool, len(r.p.steps)*(len(r.name)+1))
	open := []place{from}
	for len(open) > 0 {
		here := open[len(open)-1]
		open = open[:len(open)-1]
		s := &r.p.steps[here.step]
		if s.op == done || s.op == end && here.at == len(r.name) {
			return true
		}
		if i := here.step*(len(r.name)+1) + here.at; seen[i] {
			continue
		} else {
			seen[i] = true
		}
		switch s.op {
		case take:
			if here.at < len(r.name) && s.node.takes(r.name[here.at]) {
				open = append(open, place{s.next, here.at + 1})
			}
		case check:
			if !r.ahead(place{s.or, here.at}) {
				open = append(open, place{s.next, here.at})
			}
		case fork:
			open = append(open, place{s.or, here.at}, place{s.next, here.at})
		}
	}
	return false
}

// ahead is [run.leads], which looks at each place once. A negation that comes to
// itself again does not hold it up.
func (r *run) ahead(from place) bool {
	found, ok := r.checks[from]
	if !ok {
		r.checks[from] = false
		found = r.leads(from)
		r.checks[from] = found
	}
	return found
}

// takes reports whether the node stands for c.
func (n *node) takes(c rune) bool {
	switch n.kind {
	case letter:
		return n.letter == c
	case class:
		for _, s := range n.ranges {
			if s.from <= c && c <= s.to {
				return !n.negate
			}
		}
		return n.negate
	default:
		return true
	}
}

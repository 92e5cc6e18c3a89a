package match

import "strings"

// kind is what a node stands for.
type kind byte

const (
	letter kind = iota // itself
	one                // one character
	many               // any number of characters
	class              // one character of a set
	group              // alternatives
)

// node is one part of the pattern of an element.
type node struct {
	kind   kind
	letter rune
	ranges []span // of a class
	negate bool   // a class: one of the others
	repeat rune   // of a group: one of ?*+@!
	either [][]node
}

// span is a range of characters.
type span struct{ from, to rune }

// parse reads the pattern of one element. It is magic when it can match more than
// one text.
//
// The library takes a wildcard and a "]" or ")" behind it in wrong order when that
// closes nothing, and loses a negation's meaning beside other groups. Nobody means
// that, so it is not followed.
func parse(text string) (nodes []node, magic bool) {
	p := &parser{text: []rune(text)}
	p.pair()
	nodes = p.sequence(len(p.text))
	return nodes, p.magic
}

// literalText returns the text that nodes without magic stand for.
func literalText(nodes []node) string {
	var text strings.Builder
	for _, n := range nodes {
		text.WriteRune(n.letter)
	}
	return text.String()
}

// parser reads a pattern. Groups and classes that are not closed are text, so
// where each ends is found out before anything is read.
type parser struct {
	text  []rune
	at    int
	ends  map[int]int // of a "(" or "[" that opens something → where it is closed
	magic bool
}

// pair finds the ends of groups and classes.
func (p *parser) pair() {
	p.ends = make(map[int]int)
	var open []int
	unclosed := false
	for i := 0; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '\\':
			i++
		case c == '[' && !unclosed:
			end := p.classEnd(i)
			if end < 0 { // nor is any further one; the groups around stay open, too
				unclosed, open = true, nil
				continue
			}
			p.ends[i] = end
			i = end
		case c == '(' && i > 0 && p.opens(i-1):
			open = append(open, i)
		case c == ')' && len(open) > 0:
			p.ends[open[len(open)-1]] = i
			open = open[:len(open)-1]
		}
	}
}

// opens reports whether what is at i begins a group together with a "(".
func (p *parser) opens(i int) bool {
	if !strings.ContainsRune("?*+@!", p.text[i]) {
		return false
	}
	slashes := 0
	for j := i - 1; j >= 0 && p.text[j] == '\\'; j-- {
		slashes++
	}
	return slashes%2 == 0
}

// classEnd returns where the class that begins at i ends, or -1. A "]" right
// behind its "[" is one of its characters.
func (p *parser) classEnd(i int) int {
	for j := i + 1; j < len(p.text); j++ {
		switch {
		case p.text[j] == '\\':
			j++
		case p.text[j] == ']' && j > i+1:
			return j
		}
	}
	return -1
}

// sequence reads nodes up to end.
func (p *parser) sequence(end int) []node {
	var nodes []node
	for p.at < end {
		nodes = p.next(nodes, end)
	}
	return nodes
}

// next reads one part.
func (p *parser) next(nodes []node, end int) []node {
	c := p.text[p.at]
	for c == '*' && p.at+1 < end && p.text[p.at+1] == '*' {
		p.at++ // several are one
	}
	if close, ok := p.ends[p.at+1]; ok && p.at+1 < end && p.text[p.at+1] == '(' && strings.ContainsRune("?*+@!", c) {
		p.magic = true
		return append(nodes, p.group(c, close))
	}
	p.at++
	switch {
	case c == '\\' && p.at < end:
		p.at++
		return append(nodes, node{letter: p.text[p.at-1]})
	case c == '?':
		p.magic = true
		return append(nodes, node{kind: one})
	case c == '*':
		p.magic = true
		return append(nodes, node{kind: many})
	case c == '[':
		if close, ok := p.ends[p.at-1]; ok {
			return p.class(nodes, close)
		}
	}
	return append(nodes, node{letter: c})
}

// group reads alternatives up to their closing parenthesis.
func (p *parser) group(repeat rune, close int) node {
	n := node{kind: group, repeat: repeat}
	p.at += 2
	for {
		end := p.bar(close)
		n.either = append(n.either, p.sequence(end))
		p.at = end + 1
		if end == close {
			return n
		}
	}
}

// bar returns where the alternative that begins here ends.
func (p *parser) bar(close int) int {
	for i := p.at; i < close; i++ {
		switch end, ok := p.ends[i]; {
		case ok:
			i = end
		case p.text[i] == '\\':
			i++
		case p.text[i] == '|':
			return i
		}
	}
	return close
}

// class reads a class up to its closing bracket. One with a range that runs
// backwards is text, in which other things keep their meaning.
func (p *parser) class(nodes []node, close int) []node {
	n := node{kind: class}
	at := p.at
	if c := p.text[at]; (c == '!' || c == '^') && at < close {
		n.negate = true
		at++
	}
	var chars []rune
	for ; at < close; at++ {
		if p.text[at] == '\\' && at+1 < close {
			at++
		}
		chars = append(chars, p.text[at])
	}
	for i := 0; i < len(chars); i++ {
		if i+2 < len(chars) && chars[i+1] == '-' {
			if chars[i] > chars[i+2] {
				return append(nodes, p.notClass(close)...)
			}
			n.ranges = append(n.ranges, span{chars[i], chars[i+2]})
			i += 2
			continue
		}
		n.ranges = append(n.ranges, span{chars[i], chars[i]})
	}
	p.at, p.magic = close+1, true
	return append(nodes, n)
}

// notClass reads what only looks like a class.
func (p *parser) notClass(close int) []node {
	inner := &parser{text: p.text[p.at:close]}
	inner.pair()
	nodes := append([]node{{letter: '['}}, inner.sequence(len(inner.text))...)
	p.at, p.magic = close+1, p.magic || inner.magic
	return append(nodes, node{letter: ']'})
}

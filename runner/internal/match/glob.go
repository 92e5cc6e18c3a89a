package match

import (
	"fmt"
	"slices"
	"strings"
)

// maxPattern bounds a pattern, in bytes, as the task library does.
const maxPattern = 64 << 10

// glob is a pattern of whole paths: one segment for each of their elements.
type glob struct {
	segments []segment
	base     bool // looks at the last element only
	noDots   bool
}

// segment stands for one element of a path, or for any number of them.
type segment struct {
	literal string   // what the element has to be; else
	any     bool     // any number of elements: "**"; or
	some    bool     // one of those, behind a "**" at the end; or
	program *program // what the element has to match; nil: literal
}

func compile(pattern string, o Options) (*glob, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("the pattern %.40q… is longer than %d KiB", pattern, maxPattern>>10)
	}
	g := &glob{noDots: o.NoDots, base: o.Base && !strings.Contains(pattern, "/")}
	texts := elements(pattern)
	for i, text := range texts {
		if text == "**" {
			g.segments = append(g.segments, segment{any: true})
			if i == len(texts)-1 { // what is below a directory, not the directory
				g.segments = append(g.segments, segment{some: true})
			}
			continue
		}
		nodes, magic := parse(text)
		if !magic {
			g.segments = append(g.segments, segment{literal: literalText(nodes)})
			continue
		}
		g.segments = append(g.segments, segment{program: assemble(nodes, o.NoDots)})
	}
	return g, nil
}

// elements splits at slashes; several count as one.
func elements(path string) []string { return strings.Split(squash(path), "/") }

// root puts the elements of an absolute path in front, as they are.
func (g *glob) root(path string) {
	var segments []segment
	for _, text := range elements(strings.TrimSuffix(path, "/")) {
		segments = append(segments, segment{literal: text})
	}
	g.segments = append(segments, g.segments...)
}

// literal returns the path of the segments in front of the first wildcard, and
// whether there is none. It is empty for "/*": nobody means the whole machine.
func (g *glob) literal() (path string, whole bool) {
	n := 0
	for n < len(g.segments) && !g.segments[n].any && g.segments[n].program == nil {
		n++
	}
	parts := make([]string, n)
	for i, s := range g.segments[:n] {
		parts[i] = s.literal
	}
	if path = strings.Join(parts, "/"); len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path, n == len(g.segments)
}

// match reports whether the pattern matches path.
func (g *glob) match(path string) bool {
	file := elements(path)
	if g.base {
		for i := len(file) - 1; i > 0 && file[len(file)-1] == ""; i-- {
			file = file[:i]
		}
		file = file[len(file)-1:]
	}
	// The slash behind a directory need not be matched.
	return g.matches(file) || len(file) > 1 && file[len(file)-1] == "" && g.matches(file[:len(file)-1])
}

// matches works from the last segment to the first: after one, rest[j] says
// whether the segments from there on match the elements from j on.
func (g *glob) matches(file []string) bool {
	n := len(file)
	rest := make([]bool, n+1)
	rest[n] = true
	for _, s := range slices.Backward(g.segments) {
		if s.any {
			for j := n - 1; j >= 0; j-- {
				rest[j] = rest[j] || rest[j+1] && g.crosses(file[j])
			}
			continue
		}
		for j := range n {
			rest[j] = rest[j+1] && (s.some && g.crosses(file[j]) || !s.some && s.match(file[j]))
		}
		rest[n] = false
	}
	return rest[0]
}

// crosses reports whether "**" may stand for an element.
func (g *glob) crosses(element string) bool {
	if element == "." || element == ".." {
		return false
	}
	return !g.noDots || !strings.HasPrefix(element, ".")
}

func (s segment) match(element string) bool {
	if s.program == nil {
		return s.literal == element
	}
	return s.program.match(element)
}

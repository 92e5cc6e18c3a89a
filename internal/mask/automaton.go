package mask

import (
	"maps"
	"regexp"
	"slices"
	"sort"
)

// matcher is a Set at one moment, compiled. It never changes.
type matcher struct {
	auto     *automaton
	patterns []*regexp.Regexp
}

func newMatcher(forms map[string]struct{}, patterns []*regexp.Regexp) *matcher {
	return &matcher{
		auto:     newAutomaton(slices.Sorted(maps.Keys(forms))),
		patterns: slices.Clone(patterns),
	}
}

// automaton finds all forms in one pass over the text (Aho and Corasick,
// "Efficient string matching", CACM 18(6), 1975). Its states are the beginnings
// of forms; the state after a byte is the longest beginning that the text read
// so far ends with, so its depth is how much a stream has to hold back.
//
// States are numbered breadth first, over sorted forms: the children of state n
// are first[n] to first[n+1]-1, in the order of their labels. That costs nine
// bytes a state, where a full table would cost a kilobyte; only the root and
// its children, where nearly all text ends up, have full rows.
type automaton struct {
	label []byte            // the last byte of the state's beginning
	first []uint32          // see above; one longer than the rest
	fail  []uint32          // the longest proper suffix that is a beginning too, and matched
	level []uint32          // the first state of each depth
	match map[uint32]uint32 // for states with matched: length of the longest form at their end
	// rows holds the successors of the root and of its children by byte. A
	// state without children has the row, or the edges, of its fail.
	rows [][256]uint32
	// windows has a bit for every hash of three bytes with which a form
	// begins: in the root, any other three can be passed without a look.
	windows *[windowWords]uint64
}

const (
	root        = uint32(0)
	matched     = uint32(1 << 31) // in fail: a form ends with the state's beginning
	windowBits  = 17              // 16 KiB: half of a first-level cache
	windowWords = 1 << windowBits / 64
)

// window hashes the three low bytes of v.
func window(v uint32) uint32 { return v * 0x9E3779B1 >> (32 - windowBits) }

// newAutomaton compiles forms, which are sorted, distinct and not empty.
func newAutomaton(forms []string) *automaton {
	a := &automaton{windows: new([windowWords]uint64)}
	a.grow(forms)
	a.fillRows()
	a.link()
	for _, form := range forms {
		a.openWindows(form)
	}
	return a
}

// grow makes the states of all beginnings, level by level.
func (a *automaton) grow(forms []string) {
	type span struct{ from, to int } // the forms that share a beginning
	total := 1
	for _, form := range forms {
		total += len(form)
	}
	a.label = make([]byte, 1, total)
	a.first = make([]uint32, 0, total+1)
	a.match = make(map[uint32]uint32, len(forms))
	level := []span{{0, len(forms)}}
	for depth := 0; len(level) > 0; depth++ {
		a.level = append(a.level, uint32(len(a.first))) //nolint:gosec // as below
		next := make([]span, 0, len(level))
		for _, s := range level {
			a.first = append(a.first, uint32(len(a.label))) //nolint:gosec // as many states as bytes in memory
			from := s.from
			if from < s.to && len(forms[from]) == depth {
				from++ // this form ends here; its state was made with its match
			}
			for from < s.to {
				c, to := forms[from][depth], from+1
				for to < s.to && forms[to][depth] == c {
					to++
				}
				if len(forms[from]) == depth+1 {
					a.match[uint32(len(a.label))] = uint32(depth + 1) //nolint:gosec // as above
				}
				a.label = append(a.label, c)
				next = append(next, span{from, to})
				from = to
			}
		}
		level = next
	}
	a.first = append(a.first, uint32(len(a.label))) //nolint:gosec // as above
}

// link sets every state's fail, and the matches it inherits through it.
func (a *automaton) link() {
	a.fail = make([]uint32, len(a.label))
	for n := range uint32(len(a.label)) { //nolint:gosec // as above
		for child := a.first[n]; child < a.first[n+1]; child++ {
			fail := root
			if n != root {
				fail = a.step(a.fail[n]&^matched, a.label[child])
			}
			if _, own := a.match[child]; own {
				fail |= matched
			} else if length, inherited := a.match[fail]; inherited {
				a.match[child] = length
				fail |= matched
			}
			a.fail[child] = fail
		}
	}
}

// depth is the length of the state's beginning.
func (a *automaton) depth(n uint32) int {
	return sort.Search(len(a.level), func(i int) bool { return a.level[i] > n }) - 1
}

func (a *automaton) fillRows() {
	a.rows = make([][256]uint32, a.first[1]) // the root, and its children up to the first grandchild
	for n := range a.rows {
		if n > 0 {
			a.rows[n] = a.rows[root]
		}
		for child := a.first[n]; child < a.first[n+1]; child++ {
			a.rows[n][a.label[child]] = child
		}
	}
}

func (a *automaton) openWindows(form string) {
	open := func(v uint32) {
		h := window(v)
		a.windows[h/64] |= 1 << (h % 64)
	}
	switch len(form) {
	case 1:
		for rest := range uint32(1 << 16) {
			open(uint32(form[0]) | rest<<8)
		}
	case 2:
		for rest := range uint32(1 << 8) {
			open(uint32(form[0]) | uint32(form[1])<<8 | rest<<16)
		}
	default:
		open(uint32(form[0]) | uint32(form[1])<<8 | uint32(form[2])<<16)
	}
}

// skip returns the first index from i on at which a form may begin, for an
// automaton in the root.
func (a *automaton) skip(text []byte, i int) int {
	if i+2 >= len(text) {
		return i
	}
	v := uint32(text[i])<<8 | uint32(text[i+1])<<16
	for k, c := range text[i+2:] {
		v = v>>8 | uint32(c)<<16
		if h := window(v); a.windows[h/64]>>(h%64)&1 != 0 {
			return i + k
		}
	}
	return len(text) - 2
}

// run reads text[from:] in state n, calls found with the length of the longest
// form that ends at each index where one does, and returns the state reached.
func (a *automaton) run(n uint32, text []byte, from int, found func(end int, length uint32)) uint32 {
	for i := from; i < len(text); i++ {
		if n == root {
			if i = a.skip(text, i); i >= len(text) {
				break
			}
		}
		n = a.step(n, text[i])
		if a.fail[n]&matched != 0 {
			found(i+1, a.match[n])
			for n != root && a.first[n] == a.first[n+1] {
				n = a.fail[n] &^ matched // nothing goes on from here, so nothing is held back for it
			}
		}
	}
	return n
}

// step is the state after byte c in state n.
func (a *automaton) step(n uint32, c byte) uint32 {
	for int(n) >= len(a.rows) {
		for child := a.first[n]; child < a.first[n+1]; child++ {
			if a.label[child] == c {
				return child
			}
		}
		n = a.fail[n] &^ matched
	}
	return a.rows[n][c]
}

package mask

import "sort"

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
	rows  [][256]uint32
	sieve *sieve // passes over text, in the root
}

const (
	root    = uint32(0)
	matched = uint32(1 << 31) // in fail: a form ends with the state's beginning
)

// newAutomaton compiles forms, which are sorted, distinct and not empty.
func newAutomaton(forms []string) *automaton {
	a := &automaton{sieve: newSieve(forms)}
	a.grow(forms)
	a.fillRows()
	a.link()
	return a
}

// grow makes the states of all beginnings, level by level.
func (a *automaton) grow(forms []string) {
	type span struct{ from, to int } // the forms that share a beginning
	states := countBeginnings(forms)
	a.label = make([]byte, 1, states)
	a.first = make([]uint32, 0, states+1)
	a.fail = make([]uint32, 1, states)
	a.match = make(map[uint32]uint32, len(forms))
	level, next := []span{{0, len(forms)}}, []span(nil)
	for depth := 0; len(level) > 0; depth++ {
		a.level = append(a.level, uint32(len(a.first))) //nolint:gosec // as below
		next = next[:0]
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
				own := uint32(0)
				if len(forms[from]) == depth+1 {
					own = matched
					a.match[uint32(len(a.label))] = uint32(depth + 1) //nolint:gosec // as above
				}
				a.label, a.fail = append(a.label, c), append(a.fail, own)
				next = append(next, span{from, to})
				from = to
			}
		}
		level, next = next, level
	}
	a.first = append(a.first, uint32(len(a.label))) //nolint:gosec // as above
}

// countBeginnings counts the different beginnings of forms, the empty one too.
func countBeginnings(forms []string) int {
	n, last := 1, ""
	for _, form := range forms {
		shared := 0
		for shared < min(len(form), len(last)) && form[shared] == last[shared] {
			shared++
		}
		n += len(form) - shared
		last = form
	}
	return n
}

// link sets every state's fail, and the matches it inherits through it.
func (a *automaton) link() {
	for n := range uint32(len(a.label)) { //nolint:gosec // as above
		for child := a.first[n]; child < a.first[n+1]; child++ {
			fail := root
			if n != root {
				fail = a.step(a.fail[n]&^matched, a.label[child])
			}
			if a.fail[child] == 0 && a.fail[fail]&matched != 0 {
				a.fail[child], a.match[child] = matched, a.match[fail] // inherited
			}
			a.fail[child] |= fail
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

// run reads text[from:] in state n, calls found with the length of the longest
// form that ends at each index where one does, and returns the state reached.
func (a *automaton) run(n uint32, text []byte, from int, found func(end int, length uint32)) uint32 {
	for i := from; i < len(text); i++ {
		if n == root {
			if i = a.sieve.skip(text, i); i >= len(text) {
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

package mask

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// Set is a growing collection of values and patterns that must not be shown.
// Make one with [NewSet]. All its methods may be called concurrently; what is
// added applies to every call that begins afterwards.
//
// Besides what is added, a Set always hides the password of an address written
// as scheme://user:password@host.
type Set struct {
	minLength int
	most      int                     // states, see mostStates
	scanners  sync.Pool               // of *scanner, for Mask and MaskBytes
	current   atomic.Pointer[matcher] // nil when forms or patterns changed since

	mu       sync.Mutex
	patterns []*regexp.Regexp
	settled  []string            // forms, sorted, each once
	recent   map[string]struct{} // forms added since
	automata []*automaton        // of the settled
	partial  map[string]struct{} // values with fewer forms than wanted

	settledStates, recentStates int // that the forms make, at most
}

// Option changes how [NewSet] makes a [Set].
type Option func(*Set)

// MinLength makes the set ignore every form shorter than n bytes: a secret of
// one or two characters would turn ordinary text into asterisks. Zero, the
// default, ignores none.
func MinLength(n int) Option { return func(s *Set) { s.minLength = n } }

// NewSet returns a set that hides nothing but passwords in addresses.
func NewSet(options ...Option) *Set {
	s := &Set{recent: make(map[string]struct{}), partial: make(map[string]struct{}), most: mostStates}
	for _, option := range options {
		option(s)
	}
	s.scanners.New = func() any { return new(scanner) }
	return s
}

// fewestCharacters is the length below which a form is found in ordinary text
// all the time: as a number, in a word, in a path.
const fewestCharacters = 4

// mostStates bounds what a set compiles to: at nine bytes a state 64 MiB. While
// secrets are added, the automata before and after are there at the same time.
const mostStates = 64 << 20 / 9

// Added is what is worth telling about secrets that were added.
type Added struct {
	// Short says that a text of fewer than four characters is hidden which was not
	// before: words with holes will be in the output.
	Short bool
	// Partial says that the set is full, so that a value is hidden in fewer forms
	// than [Forms] has: at least as it is, and its lines.
	Partial bool
}

// Add registers values in every form described at [Forms]. A value that is
// empty or only white space is ignored. Adding a known value again costs
// little and changes nothing.
//
// It reports what somebody should be told, once, however often the value comes.
// A set whose forms would take more than 64 MiB is full: of what comes then there
// are as many forms as fit, and the value and its lines always.
func (s *Set) Add(values ...string) (added Added) {
	for i, value := range values {
		if strings.TrimSpace(value) == "" || slices.Contains(values[:i], value) || s.isPartial(value) {
			continue
		}
		wanted := detailOf(value)
		for d := wanted; ; {
			short, ok := s.take(formsIn(value, d), d == plainForms)
			if ok {
				added.Short = added.Short || short
				added.Partial = added.Partial || d > wanted
				if d > wanted {
					s.setPartial(value)
				}
				break
			}
			d = max(d+1, wholeForms)
		}
	}
	return added
}

// take adds forms, which are sorted, unless the set has no room for them; always
// takes them nevertheless. short is as [Added].
func (s *Set) take(forms []string, always bool) (short, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := slices.DeleteFunc(forms, func(form string) bool { return len(form) < s.minLength || s.knows(form) })
	states := countBeginnings(fresh)
	if !always && s.settledStates+s.recentStates+states > s.most {
		return false, false
	}
	for _, form := range fresh {
		s.recent[form] = struct{}{}
		short = short || utf8.RuneCountInString(form) < fewestCharacters
	}
	if len(fresh) > 0 {
		s.recentStates += states
		s.current.Store(nil)
	}
	return short, true
}

// isPartial reports whether there are fewer forms of value than wanted.
func (s *Set) isPartial(value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, partial := s.partial[value]
	return partial
}

func (s *Set) setPartial(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partial[value] = struct{}{}
}

// knows reports whether form was added before. The lock is held.
func (s *Set) knows(form string) bool {
	if _, known := s.recent[form]; known {
		return true
	}
	_, known := slices.BinarySearch(s.settled, form)
	return known
}

// AddPattern registers a regular expression in the syntax of package regexp:
// whatever it matches is hidden. A pattern sees one line at a time, without
// its line ending; a line longer than 64 KiB is seen in overlapping pieces of
// that size, so that a match of up to 32 KiB is found anywhere. Adding a
// pattern makes every [Writer] of the set hold back the line it is in.
//
// It returns an error when expr is empty or does not compile; the set is then
// unchanged.
func (s *Set) AddPattern(expr string) error {
	if expr == "" {
		return errors.New("adding a mask pattern: the expression is empty")
	}
	pattern, err := regexp.Compile(expr)
	if err != nil {
		return fmt.Errorf("adding a mask pattern: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.patterns {
		if known.String() == expr {
			return nil
		}
	}
	s.patterns = append(s.patterns, pattern)
	s.current.Store(nil)
	return nil
}

// Mask returns text with every secret replaced by [Replacement]. Secrets that
// overlap or touch are replaced together, by one. Text without secrets is
// returned as it is, without copying.
func (s *Set) Mask(text string) string {
	sc := s.scanner()
	defer s.scanners.Put(sc)
	sc.data = append(sc.data[:0], text...)
	if !sc.scanAll(s.matcher()) {
		return text
	}
	sc.out = sc.emit(sc.out[:0], sc.data, len(sc.data))
	return string(sc.out)
}

// MaskBytes is [Set.Mask] for bytes. It does not change text; it returns text
// itself when there is nothing to hide, and a fresh slice otherwise.
func (s *Set) MaskBytes(text []byte) []byte {
	sc := s.scanner()
	defer s.scanners.Put(sc)
	sc.data = append(sc.data[:0], text...)
	if !sc.scanAll(s.matcher()) {
		return text
	}
	return sc.emit(nil, sc.data, len(sc.data))
}

func (s *Set) scanner() *scanner {
	sc := s.scanners.Get().(*scanner)
	sc.reset()
	return sc
}

// matcher returns what everything added so far compiles to. It compiles when
// the set changed since the last call, so adding many values compiles once.
func (s *Set) matcher() *matcher {
	if m := s.current.Load(); m != nil {
		return m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.current.Load(); m != nil {
		return m
	}
	m := s.compile()
	s.current.Store(m)
	return m
}

const (
	// settleAt is how many times larger than the recent forms the settled may be
	// without all being compiled anew: a step that registers hundreds of
	// secrets, one after each line, would compile all of them as often, which
	// takes seconds.
	settleAt = 4
	// shortForm is the length in bytes below which a form gets into an
	// automaton of its own: the shortest form decides how fast text is read for
	// all that are with it (see sieve), and few are short.
	shortForm = 8
)

// compile makes the matcher. The lock is held.
func (s *Set) compile() *matcher {
	recent := slices.Sorted(maps.Keys(s.recent))
	if s.recentStates*settleAt >= s.settledStates && len(recent) > 0 {
		s.settled = append(s.settled, recent...)
		slices.Sort(s.settled)
		isShort := func(form string) bool { return len(form) < shortForm }
		isLong := func(form string) bool { return !isShort(form) }
		s.automata = slices.Concat(
			compiled(slices.DeleteFunc(slices.Clone(s.settled), isShort)),
			compiled(slices.DeleteFunc(slices.Clone(s.settled), isLong)))
		clear(s.recent)
		s.settledStates, s.recentStates = s.settledStates+s.recentStates, 0
		recent = nil
	}
	return &matcher{automata: slices.Concat(s.automata, compiled(recent)), patterns: slices.Clone(s.patterns)}
}

// compiled is the automaton of forms, if there are any.
func compiled(forms []string) []*automaton {
	if len(forms) == 0 {
		return nil
	}
	return []*automaton{newAutomaton(forms)}
}

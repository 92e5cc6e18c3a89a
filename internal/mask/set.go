package mask

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
)

// Set is a growing collection of values and patterns that must not be shown.
// Make one with [NewSet]. All its methods may be called concurrently; what is
// added applies to every call that begins afterwards.
//
// Besides what is added, a Set always hides the password of an address written
// as scheme://user:password@host.
type Set struct {
	minLength int
	scanners  sync.Pool               // of *scanner, for Mask and MaskBytes
	current   atomic.Pointer[matcher] // nil when forms or patterns changed since

	mu       sync.Mutex
	forms    map[string]struct{}
	patterns []*regexp.Regexp
}

// Option changes how [NewSet] makes a [Set].
type Option func(*Set)

// MinLength makes the set ignore every form shorter than n bytes: a secret of
// one or two characters would turn ordinary text into asterisks. Zero, the
// default, ignores none.
func MinLength(n int) Option { return func(s *Set) { s.minLength = n } }

// NewSet returns a set that hides nothing but passwords in addresses.
func NewSet(options ...Option) *Set {
	s := &Set{forms: make(map[string]struct{})}
	for _, option := range options {
		option(s)
	}
	s.scanners.New = func() any { return new(scanner) }
	return s
}

// Add registers values in every form described at [Forms]. A value that is
// empty or only white space is ignored. Adding a known value again costs
// little and changes nothing.
func (s *Set) Add(values ...string) {
	var fresh []string
	for _, value := range values {
		if strings.TrimSpace(value) != "" {
			fresh = append(fresh, Forms(value)...)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, form := range fresh {
		if _, known := s.forms[form]; known || len(form) < s.minLength {
			continue
		}
		s.forms[form] = struct{}{}
		s.current.Store(nil)
	}
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
	m := newMatcher(s.forms, s.patterns)
	s.current.Store(m)
	return m
}

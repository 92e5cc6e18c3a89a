package vars

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	// maxDepth is how deep variables may mention each other (protocol §8.5).
	maxDepth = 50
	// maxLength bounds one expanded value, in bytes. Doubling a value in fifty
	// levels would otherwise ask for more memory than there is.
	maxLength = 1 << 20
)

var (
	errCycle  = errors.New("it mentions itself")
	errDeep   = fmt.Errorf("it goes more than %d variables deep", maxDepth)
	errLength = fmt.Errorf("it grows beyond %d bytes", maxLength)
)

// Recompute expands the macros in the values of all variables. A value that
// cannot be expanded keeps its macros, and the returned errors say why. A
// value that took in a secret becomes secret itself. Nothing is done when no
// variable was set since the last call.
func (s *Store) Recompute() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	var problems []error
	r := &recomputation{raw: s.raw, done: make(map[string]Variable, len(s.raw)), height: make(map[string]int)}
	for _, key := range slices.Sorted(maps.Keys(s.raw)) {
		v, err := r.expand(key)
		if err != nil {
			v = s.raw[key]
			problems = append(problems, fmt.Errorf("expanding variable %s: %w", v.Name, err))
		}
		if v.Secret && s.expanded[key] != v {
			s.onSecret(v.Value) // registering what is known already is not free
		}
		s.expanded[key] = v
	}
	s.dirty = false
	return problems
}

type recomputation struct {
	raw    map[string]Variable
	done   map[string]Variable
	height map[string]int // of what is done: how deep it mentions others
	stack  []string       // variables being expanded, outermost first
}

func (r *recomputation) expand(key string) (Variable, error) {
	if v, ok := r.done[key]; ok {
		return v, nil
	}
	v := r.raw[key]
	if !strings.Contains(v.Value, "$(") {
		return v, nil
	}
	switch {
	case slices.Contains(r.stack, key):
		return v, errCycle
	case len(r.stack) >= maxDepth:
		return v, errDeep
	}
	r.stack = append(r.stack, key)
	defer func() { r.stack = r.stack[:len(r.stack)-1] }()
	var failure error
	length, height := len(v.Value), 0
	v.Value = Replace(v.Value, func(name string) (string, bool) {
		inner := fold(name)
		if _, ok := r.raw[inner]; !ok || failure != nil {
			return "", false
		}
		var part Variable
		part, failure = r.expand(inner)
		height = max(height, r.height[inner]+1)
		if length += len(part.Value); length > maxLength && failure == nil {
			failure = errLength
		}
		v.Secret = v.Secret || part.Secret
		return part.Value, failure == nil
	})
	if failure == nil && height > maxDepth {
		failure = errDeep // met through variables that were done before
	}
	if failure != nil {
		return v, failure
	}
	r.done[key], r.height[key] = v, height
	return v, nil
}

// Package vars knows the variables of one job: names that ignore case, values
// that mention each other as $(name), secrets that stay secret, names that
// scripts may not set, and the environment that a step sees of it all.
//
// A [Store] is filled before the first step, recomputed before each step, and
// written by the commands of the steps in between.
package vars

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ErrReadOnly says that a variable may not be set by a step.
var ErrReadOnly = errors.New("the variable is read-only")

// Variable is one named value of a job.
type Variable struct {
	Name         string
	Value        string
	Secret       bool
	ReadOnly     bool // steps may not set it
	PreserveCase bool // its name in the environment keeps its case
}

// Store is the table of variables of one job. Make one with [New]. Its methods
// may be called concurrently.
type Store struct {
	onSecret func(value string)

	mu       sync.RWMutex
	raw      map[string]Variable // by folded name, values as they were set
	expanded map[string]Variable // the same after the last Recompute, and what was set since
	scoped   map[string]Variable // of the running step; in front of the others
	dirty    bool                // raw changed since the last Recompute
}

// New returns an empty store. onSecret is told the value of every secret
// before a reader can see it.
func New(onSecret func(value string)) *Store {
	return &Store{onSecret: onSecret, raw: make(map[string]Variable), expanded: make(map[string]Variable)}
}

func fold(name string) string { return strings.ToLower(name) }

// Set writes v for later steps. A variable that was secret stays secret, and
// one that was read-only stays read-only.
func (s *Store) Set(v Variable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fold(v.Name)
	if old, ok := s.raw[key]; ok {
		v.Secret = v.Secret || old.Secret
		v.ReadOnly = v.ReadOnly || old.ReadOnly
		if v == old {
			return
		}
	}
	if v.Secret {
		s.onSecret(v.Value)
	}
	s.raw[key] = v
	s.expanded[key] = v
	s.dirty = true
}

// SetScoped replaces the variables that only the running step sees.
func (s *Store) SetScoped(variables ...Variable) {
	scoped := make(map[string]Variable, len(variables))
	for _, v := range variables {
		scoped[fold(v.Name)] = v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scoped = scoped
}

// Writable returns an error that wraps [ErrReadOnly] when steps may not set
// the variable: because it was marked so, or because its name belongs to the
// agent.
func (s *Store) Writable(name string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.raw[fold(name)].ReadOnly || Reserved(name) {
		return fmt.Errorf("setting variable %s: %w", name, ErrReadOnly)
	}
	return nil
}

// Get returns the variable name with its macros expanded.
func (s *Store) Get(name string) (Variable, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.get(fold(name))
}

func (s *Store) get(key string) (Variable, bool) {
	if v, ok := s.scoped[key]; ok {
		return v, true
	}
	v, ok := s.expanded[key]
	return v, ok
}

// Value returns the value of name, or "" when there is none.
func (s *Store) Value(name string) string {
	v, _ := s.Get(name)
	return v.Value
}

// Bool returns the value of name as the service reads truth values: 1, true
// and $true, 0, false and $false, and absent for everything else.
func (s *Store) Bool(name string, absent bool) bool { return Truth(s.Value(name), absent) }

// Truth reads a truth value as [Store.Bool] does.
func Truth(text string, otherwise bool) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "1", "true", "$true":
		return true
	case "0", "false", "$false":
		return false
	}
	return otherwise
}

// Expand replaces the macros of text by variables.
func (s *Store) Expand(text string) string {
	if !strings.Contains(text, "$(") {
		return text
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Replace(text, func(name string) (string, bool) {
		v, ok := s.get(fold(name))
		return v.Value, ok
	})
}

// Mentions reports whether text has a macro whose variable is secret.
func (s *Store) Mentions(text string) bool {
	secret := false
	s.mu.RLock()
	defer s.mu.RUnlock()
	Replace(text, func(name string) (string, bool) {
		v, ok := s.get(fold(name))
		secret = secret || v.Secret
		return v.Value, ok
	})
	return secret
}

// All returns every variable of the job, by name, without those of the step.
func (s *Store) All() []Variable {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.expanded), func(a, b Variable) int { return strings.Compare(a.Name, b.Name) })
}

// Public returns the plain variables of the job and of the running step, by
// their names in the environment.
func (s *Store) Public() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[string]string, len(s.expanded)+len(s.scoped))
	for _, table := range []map[string]Variable{s.expanded, s.scoped} {
		for _, key := range slices.Sorted(maps.Keys(table)) {
			v := table[key]
			if v.Secret || strings.ContainsAny(v.Name, "=\x00") || v.Name == "" || strings.Contains(v.Value, "\x00") {
				continue // no environment can carry it
			}
			out[EnvironmentName(v.Name, v.PreserveCase)] = v.Value
		}
	}
	return out
}

// Secret returns the secret variables of the job by their names in the
// environment. Only a downloaded task is given them, under a prefix.
func (s *Store) Secret() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(s.expanded)) {
		if v := s.expanded[key]; v.Secret && v.Name != "" && !strings.ContainsAny(v.Name, "=\x00") && !strings.Contains(v.Value, "\x00") {
			out[EnvironmentName(v.Name, v.PreserveCase)] = v.Value
		}
	}
	return out
}

// Names returns the names of the plain and of the secret variables, in the
// spelling in which they were set, sorted. Neither is nil.
func (s *Store) Names() (public, secret []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	public, secret = []string{}, []string{}
	all := maps.Clone(s.expanded)
	maps.Copy(all, s.scoped)
	for _, v := range all {
		if v.Secret {
			secret = append(secret, v.Name)
		} else {
			public = append(public, v.Name)
		}
	}
	slices.Sort(public)
	slices.Sort(secret)
	return public, secret
}

var environmentName = strings.NewReplacer(".", "_", " ", "_")

// EnvironmentName returns the name of the environment entry for a variable.
func EnvironmentName(name string, preserveCase bool) string {
	name = environmentName.Replace(name)
	if !preserveCase {
		name = strings.ToUpper(name)
	}
	return name
}

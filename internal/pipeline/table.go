package pipeline

import (
	"maps"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// table holds variables by name, ignoring case. The zero table is empty.
type table struct {
	names  map[string]string // lower case → spelling
	values map[string]job.Variable
}

func (t *table) set(name string, v job.Variable) {
	if t.values == nil {
		t.names, t.values = make(map[string]string), make(map[string]job.Variable)
	}
	key := strings.ToLower(name)
	if _, ok := t.names[key]; !ok {
		t.names[key] = name
	}
	t.values[key] = v
}

func (t *table) get(name string) (job.Variable, bool) {
	v, ok := t.values[strings.ToLower(name)]
	return v, ok
}

// text finds the value of a variable.
func (t *table) text(name string) (string, bool) {
	v, ok := t.get(name)
	return v.Value, ok
}

// merge sets every variable of other.
func (t *table) merge(other *table) {
	for key, v := range other.values {
		t.set(other.names[key], v)
	}
}

func (t *table) clone() *table {
	return &table{maps.Clone(t.names), maps.Clone(t.values)}
}

// variables returns the table as a message carries it.
func (t *table) variables() map[string]job.Variable {
	all := make(map[string]job.Variable, len(t.values))
	for key, v := range t.values {
		all[t.names[key]] = v
	}
	return all
}

// expand replaces the macros of a text the service shows; secrets stay hidden.
func (t *table) expand(text string) string {
	return expandMacros(text, func(name string) (string, bool) {
		v, ok := t.get(name)
		if ok && v.IsSecret {
			return "***", true
		}
		return v.Value, ok
	})
}

// expandMacros replaces every $(name) that find knows. Parentheses inside a name must
// match; unknown macros stay, and what was inserted is not looked at again.
func expandMacros(text string, find func(name string) (string, bool)) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$(")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		end := closingParenthesis(rest)
		if end > 0 {
			if value, ok := find(rest[:end]); ok {
				b.WriteString(value)
				text = rest[end+1:]
				continue
			}
		}
		b.WriteString("$(")
		text = rest
	}
}

// closingParenthesis returns the place of the parenthesis that closes one opened before
// text, or -1.
func closingParenthesis(text string) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

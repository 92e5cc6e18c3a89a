package expr

import (
	"iter"
	"reflect"
)

// Mapping is what an Object reads from. [Map] and [Lookup] are mappings; a package
// with its own table of names may bring another one. Keys ignore case.
type Mapping interface {
	// Get returns the value of key, and false when the mapping has none.
	Get(key string) (Value, bool)
	// Len returns the number of keys that All yields.
	Len() int
	// All yields the pairs in their order.
	All() iter.Seq2[string, Value]
}

// strictMapping is a [Mapping] that refuses to be asked for a key it does not have.
type strictMapping interface {
	Missing(key string) error
}

// Map is an ordered mapping whose keys ignore case. The zero Map is empty. It is safe
// for concurrent use once nobody calls Set any more.
type Map struct {
	keys   []string
	values []Value
	index  map[string]int // folded key → position
}

// Set gives key a value. A key that is known under another case keeps its spelling
// and place.
func (m *Map) Set(key string, value Value) {
	if m.index == nil {
		m.index = make(map[string]int)
	}
	folded := fold(key)
	if i, ok := m.index[folded]; ok {
		m.values[i] = value
		return
	}
	m.index[folded] = len(m.keys)
	m.keys = append(m.keys, key)
	m.values = append(m.values, value)
}

// Get implements [Mapping].
func (m *Map) Get(key string) (Value, bool) {
	i, ok := m.index[fold(key)]
	if !ok {
		return Value{}, false
	}
	return m.values[i], true
}

// Len implements [Mapping].
func (m *Map) Len() int { return len(m.keys) }

// All implements [Mapping].
func (m *Map) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for i, key := range m.keys {
			if !yield(key, m.values[i]) {
				return
			}
		}
	}
}

// Lookup returns a mapping of texts that asks find for every key. It has no keys to
// iterate over.
func Lookup(find func(name string) (string, bool)) Mapping { return &lookup{find} }

type lookup struct{ find func(string) (string, bool) }

func (l *lookup) Get(key string) (Value, bool) {
	text, ok := l.find(key)
	if !ok {
		return Value{}, false
	}
	return Text(text), true
}

func (l *lookup) Len() int { return 0 }

func (l *lookup) All() iter.Seq2[string, Value] { return func(func(string, Value) bool) {} }

// sameMapping reports identity. A foreign mapping of a type that cannot be compared
// is never the same.
func sameMapping(a, b Mapping) bool {
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

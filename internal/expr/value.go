package expr

import (
	"time"
)

// Kind is the type of a [Value].
type Kind uint8

// The kinds of values. The zero Kind is Null.
const (
	Null Kind = iota
	Boolean
	Number
	String
	Version
	DateTime
	Array
	Object
)

var kindNames = [...]string{"Null", "Boolean", "Number", "String", "Version", "DateTime", "Array", "Object"}

// String returns the kind as it appears in messages, for example "Boolean".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "Unknown"
}

// Value is one typed value. The zero Value is null. Values are immutable.
type Value struct {
	kind Kind
	data any // bool, decimal, string, version, time.Time, *array or Mapping
}

// array is behind a pointer because collections are equal only to themselves.
type array struct {
	items    []Value
	filtered bool // came from a wildcard; an index maps over its items
}

// Bool returns a Boolean.
func Bool(b bool) Value { return Value{Boolean, b} }

// Int returns a Number.
func Int(n int64) Value { return Value{Number, decimalFromInt(n)} }

// Text returns a String.
func Text(s string) Value { return Value{String, s} }

// Time returns a DateTime.
func Time(t time.Time) Value { return Value{DateTime, t} }

// List returns an Array of items, which the caller must not change afterwards.
func List(items ...Value) Value { return Value{Array, &array{items: items}} }

// MappingOf returns an Object that reads from m.
func MappingOf(m Mapping) Value { return Value{Object, m} }

// ParseNumber returns the Number that text spells, by the rules for converting a
// String, and whether there is one.
func ParseNumber(text string) (Value, bool) {
	d, ok := Text(text).toNumber()
	return Value{Number, d}, ok
}

// Kind returns the kind of v.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return v.kind == Null }

// Items returns the items of an Array and nil for every other kind. The caller must
// not change the slice.
func (v Value) Items() []Value {
	if a, ok := v.data.(*array); ok {
		return a.items
	}
	return nil
}

// Mapping returns the mapping behind an Object and nil for every other kind.
func (v Value) Mapping() Mapping {
	if m, ok := v.data.(Mapping); ok {
		return m
	}
	return nil
}

// Truthy returns v converted to a Boolean, which always succeeds.
func (v Value) Truthy() bool {
	switch v.kind {
	case Null:
		return false
	case Boolean:
		return v.data.(bool)
	case Number:
		return !v.data.(decimal).IsZero()
	case String:
		return v.data.(string) != ""
	case Version, DateTime, Array, Object:
		return true
	}
	return true
}

// Text returns v converted to a String; ok is false for an Array and an Object.
func (v Value) Text() (text string, ok bool) {
	switch v.kind {
	case Null:
		return "", true
	case Boolean:
		if v.data.(bool) {
			return "True", true
		}
		return "False", true
	case Number:
		return v.data.(decimal).String(), true
	case String:
		return v.data.(string), true
	case Version:
		return v.data.(version).String(), true
	case DateTime:
		return v.data.(time.Time).Format("2006-01-02 15:04:05-07:00"), true
	case Array, Object:
		return "", false
	}
	return "", false
}

// String returns v as it appears in traces and messages: strings in quotes,
// collections and null as the name of their kind.
func (v Value) String() string {
	switch v.kind {
	case String:
		return quote(v.data.(string))
	case Null, Array, Object:
		return v.kind.String()
	case Boolean, Number, Version, DateTime:
	}
	text, _ := v.Text()
	return text
}

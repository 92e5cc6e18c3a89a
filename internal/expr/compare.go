package expr

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// equal decides by the kind of a; b is converted to it, and what cannot be converted
// is not equal. It is therefore not symmetric.
func equal(a, b Value) bool {
	if a.kind == Array || a.kind == Object {
		return same(a, b)
	}
	b, ok := b.convert(a.kind)
	return ok && (a.kind == Null || order(a, b) == 0)
}

// same reports whether a and b are the very same collection.
func same(a, b Value) bool {
	if a.kind != b.kind {
		return false
	}
	if a.kind == Array {
		return a.data == b.data && !a.data.(*array).filtered
	}
	return sameMapping(a.Mapping(), b.Mapping())
}

// compare orders a and b by the kind of a, or as numbers when a has no order of its own.
// It returns an error when a conversion fails.
func compare(a, b Value) (int, error) {
	var err error
	switch a.kind {
	case Boolean, DateTime, Number, String, Version:
	case Null, Array, Object:
		if a, err = a.mustConvert(Number); err != nil {
			return 0, err
		}
	}
	if b, err = b.mustConvert(a.kind); err != nil {
		return 0, err
	}
	return order(a, b), nil
}

// order compares two values of the same kind, which is neither null nor a collection.
func order(a, b Value) int {
	switch a := a.data.(type) {
	case bool:
		return compareBool(a, b.data.(bool))
	case decimal:
		return a.Cmp(b.data.(decimal))
	case string:
		return strings.Compare(fold(a), fold(b.data.(string)))
	case version:
		other := b.data.(version)
		return slices.Compare(a[:], other[:])
	case time.Time:
		return a.Compare(b.data.(time.Time))
	}
	panic("expr: order of a kind that has none")
}

func compareBool(a, b bool) int {
	rank := map[bool]int{true: 1}
	return cmp.Compare(rank[a], rank[b])
}

package dockerapi

import (
	"maps"
	"slices"
	"strings"
)

// labelFilters are what a client wants of labels, as Docker has it: all that are
// wanted are there, and not all of the unwanted. The zero value wants nothing.
type labelFilters struct{ wanted, unwanted []string }

// splitLabels takes the filters for labels out of f.
func splitLabels(f map[string][]string) (l labelFilters, others map[string][]string) {
	others = maps.Clone(f)
	delete(others, "label")
	delete(others, "label!")
	return labelFilters{f["label"], f["label!"]}, others
}

func (l labelFilters) pass(labels map[string]string) bool {
	has := func(filter string) bool { return labelled(labels, filter) }
	lacks := func(filter string) bool { return !has(filter) }
	return !slices.ContainsFunc(l.wanted, lacks) && (len(l.unwanted) == 0 || slices.ContainsFunc(l.unwanted, lacks))
}

// labelled reports whether labels have what a filter asks for: a name, or a name and
// its value.
func labelled(labels map[string]string, filter string) bool {
	name, want, hasValue := strings.Cut(filter, "=")
	got, ok := labels[name]
	return ok && (!hasValue || got == want)
}

package expr

import (
	"strings"
)

// Status is the result of a job or stage in the words that expressions use. Its case is
// ignored, so a wire result converts to it as it is.
type Status string

// The results that status functions distinguish.
const (
	Succeeded           Status = "Succeeded"
	SucceededWithIssues Status = "SucceededWithIssues"
	Failed              Status = "Failed"
	Canceled            Status = "Canceled"
	Skipped             Status = "Skipped"
)

func (s Status) is(any ...Status) bool {
	for _, other := range any {
		if strings.EqualFold(string(s), string(other)) {
			return true
		}
	}
	return false
}

// Functions is what [Env] wants of a scope's own functions.
type Functions = map[string]func(args []Value) (Value, error)

// stepScope returns the scope of a step's condition: variables and the status functions
// without arguments.
func stepScope() Scope {
	scope := Scope{Values: []string{"variables"}}
	for _, name := range []string{"always", "canceled", "failed", "succeeded", "succeededOrFailed"} {
		scope.Functions = append(scope.Functions, Signature{Name: name})
	}
	return scope
}

// stepFunctions returns the status functions of a step's condition in a job whose status
// is job so far.
func stepFunctions(job Status) Functions {
	answer := func(b bool) func([]Value) (Value, error) {
		return func([]Value) (Value, error) { return Bool(b), nil }
	}
	return Functions{
		"always":            answer(true),
		"canceled":          answer(job.is(Canceled)),
		"failed":            answer(job.is(Failed)),
		"succeeded":         answer(job.is(Succeeded, SucceededWithIssues)),
		"succeededOrFailed": answer(job.is(Succeeded, SucceededWithIssues, Failed)),
	}
}

// GraphScope returns the scope of a job's or stage's condition: the named values and the
// status functions, which may name dependencies.
func GraphScope(values ...string) Scope {
	return Scope{Values: values, Functions: []Signature{
		{Name: "always"},
		{Name: "canceled"},
		{Name: "failed", Max: maxArguments},
		{Name: "succeeded", Max: maxArguments},
		{Name: "succeededOrFailed", Max: maxArguments},
	}}
}

// Graph is what status functions of a job's or stage's condition look at.
type Graph struct {
	Canceled     bool              // the run is being canceled
	Dependencies map[string]Status // results of the direct dependencies
	Ancestors    map[string]Status // results of the indirect ones
}

// Functions returns the status functions over g.
func (g Graph) Functions() Functions {
	over := func(holds func([]Status) bool) func([]Value) (Value, error) {
		return func(args []Value) (Value, error) {
			results, err := g.results(args)
			return Bool(err == nil && !g.Canceled && holds(results)), err
		}
	}
	return Functions{
		"always":            func([]Value) (Value, error) { return Bool(true), nil },
		"canceled":          func([]Value) (Value, error) { return Bool(g.Canceled), nil },
		"failed":            over(func(all []Status) bool { return anyIs(all, Failed) }),
		"succeeded":         over(allSucceeded),
		"succeededOrFailed": over(func(all []Status) bool { return len(all) == 0 || anyIs(all, Succeeded, SucceededWithIssues, Failed) }),
	}
}

// results returns the results of all ancestors, or of the named ones. A name that is no
// dependency has an empty result, which is neither a success nor a failure.
func (g Graph) results(names []Value) ([]Status, error) {
	var results []Status
	if len(names) == 0 {
		for _, group := range []map[string]Status{g.Dependencies, g.Ancestors} {
			for _, status := range group {
				results = append(results, status)
			}
		}
		return results, nil
	}
	for _, name := range names {
		text, err := name.mustText()
		if err != nil {
			return nil, err
		}
		results = append(results, g.result(text))
	}
	return results, nil
}

func (g Graph) result(name string) Status {
	for _, group := range []map[string]Status{g.Dependencies, g.Ancestors} {
		for other, status := range group {
			if equalFold(other, name) {
				return status
			}
		}
	}
	return ""
}

func anyIs(all []Status, wanted ...Status) bool {
	for _, status := range all {
		if status.is(wanted...) {
			return true
		}
	}
	return false
}

func allSucceeded(all []Status) bool {
	for _, status := range all {
		if !status.is(Succeeded, SucceededWithIssues) {
			return false
		}
	}
	return true
}

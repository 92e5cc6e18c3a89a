package expr

import (
	"fmt"
	"strings"
)

// ParseStepCondition parses the condition of a step; a blank one is succeeded(). An error
// is a *[ParseError] and fails the job before its first step.
func ParseStepCondition(condition string) (*Expr, error) {
	if strings.TrimSpace(condition) == "" {
		condition = "succeeded()"
	}
	return Parse(condition, stepScope())
}

// EvalStepCondition decides whether a step runs in a job whose status is job so far.
// variables finds a variable by name, whatever its case. The trace explains the answer
// in two or three lines and may contain secrets. A blank condition is succeeded(). An
// error is a *[ParseError] or says which conversion failed.
func EvalStepCondition(condition string, variables func(name string) (string, bool), job Status) (run bool, trace string, err error) {
	parsed, err := ParseStepCondition(condition)
	if err != nil {
		return false, "", fmt.Errorf("parsing the condition: %w", err)
	}
	value, lines, err := parsed.EvalTraced(Env{
		Values:    map[string]Value{"variables": MappingOf(Lookup(variables))},
		Functions: stepFunctions(job),
	})
	trace = strings.Join(lines, "\n")
	if err != nil {
		return false, trace, fmt.Errorf("evaluating the condition: %w", err)
	}
	return value.Truthy(), trace, nil
}

package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Result is how a job or step ended. The zero value is "not ended yet".
type Result string

// The service's results, in the order of its enumeration (protocol Appendix B).
const (
	Succeeded           Result = "succeeded"
	SucceededWithIssues Result = "succeededWithIssues"
	Failed              Result = "failed"
	Canceled            Result = "canceled"
	Skipped             Result = "skipped"
	Abandoned           Result = "abandoned"
)

var results = []Result{Succeeded, SucceededWithIssues, Failed, Canceled, Skipped, Abandoned}

// ParseResult reads a result in any case or as the service's number.
func ParseResult(text string) (Result, error) {
	return parseEnum("result", text, results)
}

// Merge combines the result so far with a new one (protocol §7.9): succeeded <
// succeededWithIssues < failed, and whatever lies above failed is kept once set.
// An unset side yields the other.
func (r Result) Merge(next Result) Result {
	switch {
	case r == "":
		return next
	case next == "":
		return r
	case rank(r) > rank(Failed):
		return r
	case rank(next) >= rank(r):
		return next
	}
	return r
}

// OK reports whether dependants run by default: succeeded, with issues or without.
func (r Result) OK() bool { return r == Succeeded || r == SucceededWithIssues }

// Title returns the result as expressions and agent.jobstatus spell it, for
// example "SucceededWithIssues".
func (r Result) Title() string {
	if r == "" {
		return ""
	}
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}

// UnmarshalJSON accepts the name in any case, the number, and null.
func (r *Result) UnmarshalJSON(data []byte) error { return unmarshalEnum("result", data, results, r) }

func rank(r Result) int {
	for i, known := range results {
		if known == r {
			return i
		}
	}
	return -1
}

// State is where a record is in its life. The zero value means "unchanged".
type State string

// The states of a record (protocol §7.2).
const (
	Pending    State = "pending"
	InProgress State = "inProgress"
	Completed  State = "completed"
)

// UnmarshalJSON accepts the name in any case, the number, and null.
func (s *State) UnmarshalJSON(data []byte) error {
	return unmarshalEnum("state", data, []State{Pending, InProgress, Completed}, s)
}

// IssueType tells an error from a warning.
type IssueType string

// The kinds of issue. Their numbers start at 1 (protocol Appendix B).
const (
	Error   IssueType = "error"
	Warning IssueType = "warning"
)

// UnmarshalJSON accepts the name in any case, the number, and null.
func (t *IssueType) UnmarshalJSON(data []byte) error {
	return unmarshalEnum("issue type", data, []IssueType{"", Error, Warning}, t)
}

func parseEnum[T ~string](what, text string, known []T) (T, error) {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < len(known) {
		return known[n], nil
	}
	for _, k := range known {
		if k != "" && strings.EqualFold(string(k), text) {
			return k, nil
		}
	}
	return "", fmt.Errorf("%q is not a %s", text, what)
}

func unmarshalEnum[T ~string](what string, data []byte, known []T, to *T) error {
	if bytes.Equal(data, []byte("null")) {
		*to = ""
		return nil
	}
	text := string(data)
	if len(data) > 0 && data[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return fmt.Errorf("reading %s: %w", what, err)
		}
	}
	value, err := parseEnum(what, text, known)
	if err != nil {
		return err
	}
	*to = value
	return nil
}

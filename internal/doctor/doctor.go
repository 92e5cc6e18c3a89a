// Package doctor knows how to run checks of a machine side by side. A check asks
// one thing and answers in a few [Result]s, each with what to do about it; [Run]
// bounds every check, so that one that hangs is an answer, too. What is checked,
// and how it is shown, is the caller's.
package doctor

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Status is how a check went.
type Status string

// Statuses. Only [Fail] means that something will not work.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip" // there was nothing to look at
)

// Result is one answer.
type Result struct {
	Name   string `json:"name"` // what was looked at
	Status Status `json:"status"`
	Detail string `json:"detail"`         // one line
	Hint   string `json:"hint,omitempty"` // what to do; empty: nothing
}

// Check is one question. Ask observes its context, and may return no result.
type Check struct {
	Name string
	Ask  func(context.Context) []Result
}

// Run asks all checks at once and returns their results in the order of the
// checks. A check that takes longer than bound has failed; it is waited for no
// longer, because what hangs in the kernel, such as a dead network file system,
// cannot be told to end.
func Run(ctx context.Context, checks []Check, bound time.Duration) []Result {
	answers := make([][]Result, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() { answers[i] = c.bounded(ctx, bound) })
	}
	all.Wait()
	var out []Result
	for _, a := range answers {
		out = append(out, a...)
	}
	return out
}

func (c Check) bounded(ctx context.Context, bound time.Duration) []Result {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("no answer within %s", bound))
	defer cancel()
	answer := make(chan []Result, 1)
	go func() { answer <- c.Ask(ctx) }()
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
	}
	// What observes the context says more than that it was late.
	grace := time.NewTimer(100 * time.Millisecond)
	defer grace.Stop()
	select {
	case a := <-answer:
		return a
	case <-grace.C:
		return []Result{{Name: c.Name, Status: Fail, Detail: context.Cause(ctx).Error()}}
	}
}

// Failed counts the results that failed.
func Failed(results []Result) int {
	n := 0
	for _, r := range results {
		if r.Status == Fail {
			n++
		}
	}
	return n
}

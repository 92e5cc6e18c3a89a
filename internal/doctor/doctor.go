// Package doctor knows how to run checks side by side. A check asks one thing of
// one peer and answers in a few [Result]s, each with what to do about it; one that
// needs another to be right waits for it. [Run] bounds every check and all of them
// together, so that one that hangs is an answer, too. What is checked, and how it is
// shown, is the caller's.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Status is how a check went.
type Status string

// Statuses. Only [Fail] means that something will not work, or not well enough to
// work with.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip" // there was nothing to look at
)

// Result is one answer. Run fills in the empty ones of its first three members from
// the check.
type Result struct {
	Group   string  `json:"group"` // the peer
	Topic   string  `json:"check"` // what was asked, one of a fixed list
	Name    string  `json:"name"`  // what was looked at, which may be one of several
	Status  Status  `json:"status"`
	Detail  string  `json:"detail"`         // one line
	Hint    string  `json:"hint,omitempty"` // what to do; empty: nothing
	Seconds float64 `json:"seconds"`        // that the check took; zero for one that was not asked
}

// Check is one question.
type Check struct {
	Group, Topic string
	Name         string // unique within the group; empty is Topic
	// Needs names checks of the group without which there is nothing to ask: when one
	// of them failed, this one is skipped, and when one had nothing to look at, so that
	// it was skipped, this one has no result.
	Needs []string
	// Ask observes its context, and may return no result. It may use what the checks
	// it needs have found out.
	Ask func(context.Context) []Result
}

// Bounds are how long checks may take. Both are positive.
type Bounds struct {
	Check time.Duration // each, from when it is asked
	All   time.Duration // all of them
}

// grace is how much longer a check may take that observes its context: what it then
// says is better than that it was late.
const grace = 100 * time.Millisecond

// Run asks all checks at once, but those with needs after these, and returns their
// results in the order of the checks. It takes no longer than bounds.All and 0.1 s.
// A check that takes longer than its bound has failed; it is waited for no longer,
// because what hangs in the kernel, such as a dead network file system, cannot be
// told to end. It panics when a check needs one that is not there.
func Run(ctx context.Context, checks []Check, bounds Bounds) []Result {
	ctx, cancel := context.WithTimeoutCause(ctx, bounds.All, fmt.Errorf("not done within %s, which is the time for all checks", bounds.All))
	defer cancel()
	runs := make([]*run, len(checks))
	for i, c := range checks {
		if c.Name == "" {
			c.Name = c.Topic
		}
		runs[i] = &run{Check: c, done: make(chan struct{})}
	}
	for _, r := range runs {
		for _, name := range r.Needs {
			i := slices.IndexFunc(runs, func(o *run) bool { return o.Group == r.Group && o.Name == name })
			if i < 0 {
				panic(fmt.Sprintf("doctor: the check %s of %s needs %s, which is not among the checks", r.Name, r.Group, name))
			}
			r.after = append(r.after, runs[i])
		}
	}
	var all sync.WaitGroup
	for _, r := range runs {
		all.Go(func() {
			defer close(r.done)
			r.answer(ctx, bounds.Check)
		})
	}
	all.Wait()
	var out []Result
	for _, r := range runs {
		out = append(out, r.results...)
	}
	return out
}

// run is a check on its way.
type run struct {
	Check
	after   []*run
	done    chan struct{} // closed when what follows is there
	results []Result
	missing bool   // it was not asked
	why     string // it was not asked; empty: there was nothing to look at
}

// answer waits for what the check needs, asks, and completes the results.
func (r *run) answer(ctx context.Context, bound time.Duration) {
	r.wait()
	start := time.Now()
	switch {
	case !r.missing:
		r.results = r.bounded(ctx, bound)
	case r.why != "":
		r.results = []Result{{Status: Skip, Detail: "not asked: " + r.why}}
	}
	took := time.Since(start)
	for i := range r.results {
		x := &r.results[i]
		x.Group = r.Group
		if x.Name == "" {
			x.Name = cmp.Or(x.Topic, r.Name)
		}
		x.Topic = cmp.Or(x.Topic, r.Topic)
		if x.Status != Skip {
			x.Seconds = took.Seconds()
		}
	}
}

// wait returns when the checks that this one needs are done, each of which is
// bounded, and notes what is wrong with them.
func (r *run) wait() {
	for _, before := range r.after {
		<-before.done
		if before.missing {
			r.missing, r.why = true, before.why
			return
		}
		for _, x := range before.results {
			switch {
			case x.Status == Fail:
				r.missing, r.why = true, x.Name+" failed"
				return
			case x.Status == Skip && x.Topic == before.Topic:
				r.missing = true
				return
			}
		}
	}
}

// bounded asks the check.
func (r *run) bounded(ctx context.Context, bound time.Duration) []Result {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("no answer within %s", bound))
	defer cancel()
	answer := make(chan []Result, 1)
	go func() { answer <- r.Ask(ctx) }()
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case a := <-answer:
		return a
	case <-timer.C:
		return []Result{{Status: Fail, Detail: context.Cause(ctx).Error()}}
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

package cmdline

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
)

// InterruptError is the cause with which SIGINT and SIGTERM end the program's context.
type InterruptError struct{ Signal os.Signal }

// Error implements error.
func (e InterruptError) Error() string { return "stopped by signal: " + e.Signal.String() }

// Interrupted tells whether a signal ended ctx.
func Interrupted(ctx context.Context) bool {
	_, ok := errors.AsType[InterruptError](context.Cause(ctx))
	return ok
}

// againKey finds the [again] of a command in its context.
type againKey struct{}

// again is who wants to know of a second signal.
type again struct {
	wanted atomic.Bool
	came   chan struct{} // closed when it came, and was wanted
}

// WithSecondSignal returns a context in which a command may ask for [SecondSignal],
// and what tells it of one, to be called once: false says that nobody asked.
func WithSecondSignal(ctx context.Context) (context.Context, func() bool) {
	a := &again{came: make(chan struct{})}
	return context.WithValue(ctx, againKey{}, a), func() bool {
		if !a.wanted.Load() {
			return false
		}
		close(a.came)
		return true
	}
}

// SecondSignal returns what is closed when a second signal asks the command to
// make haste. From then on, the third one ends the program at once.
func SecondSignal(ctx context.Context) <-chan struct{} {
	a, ok := ctx.Value(againKey{}).(*again)
	if !ok {
		return nil
	}
	a.wanted.Store(true)
	return a.came
}

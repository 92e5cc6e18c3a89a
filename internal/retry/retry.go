// Package retry knows how to try an operation again: with growing, jittered
// pauses, for a bounded time, and only while the error says that it may help.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Policy bounds a series of attempts. Its zero value makes exactly one attempt.
type Policy struct {
	Attempts int           // most attempts in all; zero or less with Total set means "until Total is over"
	First    time.Duration // pause before the second attempt
	Max      time.Duration // longest pause; pauses double until then. Zero keeps First
	Total    time.Duration // longest time for the whole series; zero is no bound
	// Retryable decides whether another attempt may help. Nil asks the error: a
	// method Temporary() bool anywhere in its chain; an error without one is final.
	Retryable func(error) bool
	// Pause waits before the next attempt; it fails when ctx ends. Nil is [Wait].
	Pause func(ctx context.Context, d time.Duration) error
	// Notify, when set, is told each failure that will be tried again.
	Notify func(err error, attempt int, pause time.Duration)
}

// Do calls op until it succeeds, its error is final, or the policy's bound or
// ctx ends the series. The returned error wraps the last error of op and names
// what ended the series.
func Do(ctx context.Context, p Policy, op func(context.Context) error) error {
	if p.Total > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, p.Total, fmt.Errorf("no success within %s", p.Total))
		defer cancel()
	}
	pause := p.First
	for attempt := 1; ; attempt++ {
		err := op(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w (last error: %w)", context.Cause(ctx), err)
		}
		bounded := p.Attempts > 0 || p.Total <= 0
		if !p.retryable(err) {
			return err
		}
		if bounded && attempt >= max(p.Attempts, 1) {
			if attempt == 1 {
				return err
			}
			return fmt.Errorf("after %d attempts: %w", attempt, err)
		}
		wait := jitter(pause)
		if p.Notify != nil {
			p.Notify(err, attempt, wait)
		}
		if werr := p.wait(ctx, wait); werr != nil {
			return fmt.Errorf("%w (last error: %w)", werr, err)
		}
		pause = min(2*pause, max(p.Max, p.First))
	}
}

func (p Policy) wait(ctx context.Context, d time.Duration) error {
	if p.Pause != nil {
		return p.Pause(ctx, d)
	}
	return Wait(ctx, d)
}

// Wait blocks for d or until ctx ends, whose cause it then returns.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Between returns a random duration in [low, high), so that many agents that
// were disturbed together do not come back together.
func Between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + rand.N(high-low) //nolint:gosec // spreading load needs no secrecy
}

// jitter spreads a pause over ±25 %.
func jitter(d time.Duration) time.Duration {
	return Between(d-d/4, d+d/4)
}

func (p Policy) retryable(err error) bool {
	if p.Retryable != nil {
		return p.Retryable(err)
	}
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

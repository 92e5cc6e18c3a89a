package ado

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// pauseAfter returns how long to wait after the given number of failures in a
// row, the last one with err: first, and twice as long each time up to longest,
// a quarter more or less. What the server asks for wins, up to throttleWait: the
// end of a job has ten minutes for everything.
func pauseAfter(err error, failures int, first, longest time.Duration) time.Duration {
	if status, ok := errors.AsType[*StatusError](err); ok && status.RetryAfter > 0 {
		return spread(min(status.RetryAfter, throttleWait))
	}
	pause := first
	for i := 1; i < failures && pause < longest; i++ {
		pause *= 2
	}
	pause = min(pause, longest)
	return retry.Between(pause-pause/4, pause+pause/4)
}

// leastPause is the shortest pause that a near end makes of a longer one; with less
// time left there is no point in another attempt.
const leastPause = time.Second

// within shortens a pause so that what follows it has a turn before ctx ends.
func within(ctx context.Context, pause time.Duration) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		if half := time.Until(end) / 2; half >= leastPause {
			return min(pause, half)
		}
	}
	return pause
}

// spread adds up to a quarter to what a server asked for: a thousand agents that
// were told the same do not return in the same second, and none too early.
func spread(d time.Duration) time.Duration { return retry.Between(d, d+d/4) }

// IsOutage reports whether err is about the server or the way to it, and not
// about the request: the same one may succeed later.
func IsOutage(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code/100 == 5 || status.Code == http.StatusTooManyRequests
	}
	_, broken := errors.AsType[*connectionError](err)
	return broken
}

package retry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

var errBusy = errors.New("busy")

func always(error) bool { return true }

func TestASeriesEndsWithItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := retry.Do(t.Context(), retry.Policy{Attempts: 4, First: time.Second, Max: 2 * time.Second, Retryable: always},
			func(context.Context) error { calls++; return errBusy })
		if !errors.Is(err, errBusy) || calls != 4 {
			t.Errorf("Do made %d calls and returned %v, want 4 calls and %v", calls, err, errBusy)
		}
	})
}

func TestASeriesEndsWithItsTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := retry.Do(t.Context(), retry.Policy{First: time.Second, Max: 5 * time.Second, Total: time.Minute, Retryable: always},
			func(context.Context) error { return errBusy })
		if !errors.Is(err, errBusy) {
			t.Errorf("Do returned %v, want it to wrap %v", err, errBusy)
		}
		if got := time.Since(start); got != time.Minute {
			t.Errorf("the series took %s, want 1m0s", got)
		}
	})
}

func TestAFinalErrorIsNotTriedAgain(t *testing.T) {
	calls := 0
	err := retry.Do(t.Context(), retry.Policy{Attempts: 5, First: time.Hour},
		func(context.Context) error { calls++; return errBusy })
	if err != errBusy || calls != 1 { //nolint:errorlint // a single attempt must not be wrapped
		t.Errorf("Do made %d calls and returned %v, want 1 call and %v", calls, err, errBusy)
	}
}

func TestASeriesPausesAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var pauses []time.Duration
		stop := errors.New("told to stop")
		err := retry.Do(t.Context(), retry.Policy{
			First: time.Second, Max: time.Minute, Attempts: 9, Retryable: always,
			Pause: func(_ context.Context, d time.Duration) error {
				if pauses = append(pauses, d); len(pauses) == 3 {
					return stop
				}
				return nil
			},
		}, func(context.Context) error { return errBusy })
		if !errors.Is(err, stop) || !errors.Is(err, errBusy) {
			t.Errorf("Do returned %v, want it to wrap both %v and %v", err, stop, errBusy)
		}
		if len(pauses) != 3 || pauses[2] < 3*time.Second || time.Since(start) != 0 {
			t.Errorf("paused for %v in %s, want three pauses that grow, and no others", pauses, time.Since(start))
		}
	})
}

func TestTheContextEndsASeriesWithItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("told to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { time.Sleep(90 * time.Second); cancel(stop) }()
		err := retry.Do(ctx, retry.Policy{First: time.Minute, Total: time.Hour, Retryable: always},
			func(context.Context) error { return errBusy })
		if !errors.Is(err, stop) || !errors.Is(err, errBusy) {
			t.Errorf("Do returned %v, want it to wrap both %v and %v", err, stop, errBusy)
		}
	})
}

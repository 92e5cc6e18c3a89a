package ado

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// The end of a job has ten minutes: what a server asks for once must not use them up.
func TestNoRetryAfterOutlastsTheEndOfAJob(t *testing.T) {
	err := &StatusError{Code: http.StatusServiceUnavailable, RetryAfter: time.Hour}
	if got := pauseAfter(err, 1, time.Second, time.Minute); got > throttleWait+throttleWait/4 {
		t.Errorf("pause = %s, want at most %s and a quarter", got, throttleWait)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	if got := within(ctx, 10*time.Second); got > 4*time.Second {
		t.Errorf("pause = %s with eight seconds left, want half of them", got)
	}
	if got := within(t.Context(), time.Hour); got != time.Hour {
		t.Errorf("pause = %s without a deadline, want it as it is", got)
	}
}

// Pauses that the service asks for with its successes would add up to more than
// the end of a job has.
func TestAJobThatEndsHoldsBackAfterRefusalsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttled := newThrottle(slog.New(slog.DiscardHandler))
		hears := func(code int) {
			throttled.observe(t.Context(), &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {"30"}}})
		}
		waits := func() time.Duration {
			started := time.Now()
			if err := throttled.wait(patient(t.Context())); err != nil {
				t.Error(err)
			}
			return time.Since(started)
		}
		hears(http.StatusOK)
		if got := waits(); got < 30*time.Second {
			t.Errorf("a running job holds back for %s, want 30s", got)
		}
		throttled.hurry()
		hears(http.StatusOK)
		if got := waits(); got != 0 {
			t.Errorf("an ending job holds back for %s after a success, want not at all", got)
		}
		hears(http.StatusTooManyRequests)
		if got := waits(); got < 30*time.Second {
			t.Errorf("an ending job holds back for %s after a refusal, want 30s", got)
		}
	})
}

// Only the service's own word drops a page; a gateway that reloads its routes has
// an empty 404 for everything.
func TestABareRefusalDropsNoPage(t *testing.T) {
	for _, c := range []struct {
		err   *StatusError
		final bool
	}{
		{&StatusError{Code: 404}, false},
		{&StatusError{Code: 403}, false},
		{&StatusError{Code: 400, Excerpt: "<html>"}, false},
		{&StatusError{Code: 404, TypeKey: "TaskLogNotFoundException"}, true},
		{&StatusError{Code: 400}, true},
		{&StatusError{Code: 413, Excerpt: "<html>"}, true},
	} {
		if got := uploadRefused(c.err); got != c.final {
			t.Errorf("%v is final: %t, want %t", c.err, got, c.final)
		}
	}
}

// A step of a job that was told to stop does not wait for a server that takes
// nothing: it could not end.
func TestAHurriedReportKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPages("J", func(ctx context.Context, _ *upload) error {
			<-ctx.Done()
			return errors.New("away")
		}, spool{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(ctx)
		}()
		p.attach(t.Context(), "S", job.Attachment{Content: make([]byte, attachmentBudget)})
		started := time.Now()
		time.AfterFunc(time.Minute, p.hurry)
		p.attach(t.Context(), "S", job.Attachment{Content: []byte("one more")})
		if took := time.Since(started); took < time.Minute+stallAfter || took > time.Minute+3*stallAfter || p.dropped != 1 {
			t.Errorf("the second file waited for %s, %d dropped, want it dropped soon after the order", took, p.dropped)
		}
		// Nor does a step whose time is over.
		step, endStep := context.WithTimeout(t.Context(), time.Minute)
		defer endStep()
		p.hurried = time.Time{}
		started = time.Now()
		p.attach(step, "S", job.Attachment{Content: []byte("another")})
		if took := time.Since(started); took != time.Minute || p.dropped != 2 {
			t.Errorf("the file of a step waited for %s, %d dropped, want it dropped with the step's end", took, p.dropped)
		}
		p.close()
		cancel()
		<-done
	})
}

// A date is by the server's clock, also that of a pause.
func TestADateToComeBackAtIsReadByTheServersClock(t *testing.T) {
	server := time.Now().Add(10 * time.Minute).UTC().Truncate(time.Second)
	h := http.Header{"Date": {server.Format(http.TimeFormat)}, "Retry-After": {server.Add(20 * time.Second).Format(http.TimeFormat)}}
	if got := retryAfter(h); got != 20*time.Second {
		t.Errorf("pause = %s, want 20s", got)
	}
}

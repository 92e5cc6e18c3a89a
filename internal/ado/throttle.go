package ado

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// throttleWait is the longest that one request is held back because the
	// service asked for it. It has room several times over in the ten minutes
	// that the end of a job may take, and people who watch a job see it move.
	throttleWait = 2 * time.Minute
	// throttleQuiet without a word about load ends a throttled stretch. The
	// service counts over a window of five minutes
	// (https://learn.microsoft.com/azure/devops/integrate/concepts/rate-limits).
	throttleQuiet = 5 * time.Minute
)

// throttle is what the service says about the load of one identity. Requests
// that can wait hold back while it asks for that; the others, among them those
// that keep a lock and end a job, never do (protocol §1.6, §1.9). Its methods may
// be called concurrently; a nil throttle never holds anything back.
type throttle struct {
	log *slog.Logger

	mu      sync.Mutex
	until   time.Time     // requests that can wait go on from here, after a refusal
	asked   time.Time     // the same, as answers asked for that were no refusal
	hurried bool          // the job ends: what was no refusal holds nothing back
	delayed time.Duration // by the service, in this stretch
	last    time.Time     // answer about load; zero: no stretch
}

func newThrottle(log *slog.Logger) *throttle { return &throttle{log: log} }

type patientKey struct{}

// patient marks requests that wait while the service asks its clients to slow
// down: records, live lines, logs and attachments.
func patient(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, true)
}

// wait holds a patient request back, at most throttleWait.
func (t *throttle) wait(ctx context.Context) error {
	if t == nil || ctx.Value(patientKey{}) == nil {
		return nil
	}
	t.mu.Lock()
	left := time.Until(t.until)
	if !t.hurried {
		left = max(left, time.Until(t.asked))
	}
	t.mu.Unlock()
	if left <= 0 {
		return nil
	}
	return rest(ctx, min(left, throttleWait))
}

// hurry lets requests go on that the service only asked to hold back: the logs of
// a job are hundreds of requests, and at a pause each they would be cut off when
// its time is over.
func (t *throttle) hurry() {
	if t != nil {
		t.mu.Lock()
		t.hurried = true
		t.mu.Unlock()
	}
}

// observe reads what an answer says about load.
func (t *throttle) observe(ctx context.Context, answer *http.Response) {
	if t == nil {
		return
	}
	delay := seconds(answer.Header.Get("X-RateLimit-Delay"))
	pause := askedPause(answer, delay)
	slowed := delay > 0 || answer.StatusCode == http.StatusTooManyRequests || pause > 0 && answer.StatusCode/100 == 2
	now := time.Now()
	t.mu.Lock()
	kept := &t.asked
	if answer.StatusCode/100 != 2 {
		kept = &t.until
	}
	if until := now.Add(spread(min(pause, throttleWait))); pause > 0 && until.After(*kept) {
		*kept = until
	}
	ended := !t.last.IsZero() && now.Sub(t.last) > throttleQuiet
	sum := t.delayed
	if ended {
		t.last, t.delayed = time.Time{}, 0
	}
	began := slowed && t.last.IsZero()
	if slowed {
		t.last = now
		t.delayed += delay
	}
	t.mu.Unlock()
	if ended {
		t.log.InfoContext(ctx, "the service no longer slows this agent down", "delayed_seconds", sum.Seconds())
	}
	if began {
		t.log.WarnContext(ctx, "the service slows this agent down", "delayed_seconds", delay.Seconds(),
			"pause_seconds", pause.Seconds(), "resource", answer.Header.Get("X-RateLimit-Resource"))
	}
}

// askedPause returns how long an answer asks its client to be quiet: what it says
// in so many words, or until the budget that is used up is there again, or as
// long as the request was held back already.
func askedPause(answer *http.Response, delay time.Duration) time.Duration {
	if pause := retryAfter(answer.Header); pause > 0 {
		return pause
	}
	remaining, rerr := strconv.ParseFloat(answer.Header.Get("X-RateLimit-Remaining"), 64)
	reset, err := strconv.ParseInt(answer.Header.Get("X-RateLimit-Reset"), 10, 64)
	if rerr == nil && remaining <= 0 && err == nil {
		if pause := time.Unix(reset, 0).Sub(answered(answer.Header)); pause > 0 {
			return pause
		}
	}
	return delay
}

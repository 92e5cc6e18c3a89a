package ado

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

// sent keeps what a queue sends, and when.
type sent struct {
	mu      sync.Mutex
	started time.Time
	at      []time.Duration
	batches [][]job.Record
	err     error
}

func (s *sent) send(_ context.Context, batch []job.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Since(s.started))
	s.batches = append(s.batches, slices.Clone(batch))
	return s.err
}

func (s *sent) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// bubble runs test with a record queue in a synctest bubble.
func bubble(t *testing.T, test func(q *recordQueue, s *sent)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &sent{started: time.Now()}
		q := newRecordQueue(s.send, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go q.run(ctx)
		test(q, s)
		cancel()
		synctest.Wait()
	})
}

func ids(batch []job.Record) (out []string) {
	for _, r := range batch {
		out = append(out, string(r.ID))
	}
	return out
}

// Protocol §7.3.
func TestChangesOfARecordAreMergedAndSentEveryHalfSecond(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		q.add(job.Record{ID: "job", State: job.InProgress})
		q.add(job.Record{ID: "init", State: job.InProgress, Name: "Initialize job"})
		time.Sleep(100 * time.Millisecond)
		q.add(job.Record{ID: "init", State: job.Completed, Result: job.Succeeded})
		q.add(job.Record{ID: "init", ErrorCount: 2})
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]time.Duration{recordPause, recordPeriod + recordPause}, s.at); diff != "" {
			t.Errorf("times of batches (-want +got):\n%s", diff)
		}
		want := [][]job.Record{
			{{ID: "job", State: job.InProgress}, {ID: "init", State: job.InProgress, Name: "Initialize job"}},
			{{ID: "init", State: job.Completed, Result: job.Succeeded, ErrorCount: 2}},
		}
		if diff := cmp.Diff(want, s.batches); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

func TestABatchHoldsAtMost25Records(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		for i := range 60 {
			q.add(job.Record{ID: job.RecordID(fmt.Sprint(i))})
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var sizes []int
		for _, b := range s.batches {
			sizes = append(sizes, len(b))
		}
		if !slices.Equal(sizes, []int{25, 25, 10}) || s.batches[2][9].ID != "59" {
			t.Errorf("batch sizes = %v, want 25, 25, 10 in order", sizes)
		}
	})
}

func TestAFailedBatchGoesInFrontOfTheNext(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		s.fail(errors.New("503"))
		q.add(job.Record{ID: "a", Name: "old", ErrorCount: 1})
		q.add(job.Record{ID: "b"})
		time.Sleep(100 * time.Millisecond)
		q.add(job.Record{ID: "c"})
		q.add(job.Record{ID: "a", Name: "new"})
		s.fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		last := s.batches[len(s.batches)-1]
		if got := ids(last); !slices.Equal(got, []string{"a", "b", "c"}) || last[0].Name != "new" || last[0].ErrorCount != 1 {
			t.Errorf("second batch = %+v, want a (merged), b, c", last)
		}
	})
}

func TestDrainingSendsEverythingOrTellsOfLostOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sent{started: time.Now()}
		q := newRecordQueue(s.send, slog.New(slog.DiscardHandler))
		drain := func() error {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errLate)
			defer cancel()
			return q.drain(ctx)
		}
		for i := range 30 {
			q.add(job.Record{ID: job.RecordID(fmt.Sprint(i))})
		}
		if err := drain(); err != nil || len(s.batches) != 2 || q.holdsOutputs() {
			t.Errorf("drain = %v in %d batches, want success in 2", err, len(s.batches))
		}
		s.fail(errBroken)
		q.add(job.Record{ID: "x"})
		if err := drain(); !errors.Is(err, errLate) || !errors.Is(err, errBroken) || q.holdsOutputs() {
			t.Errorf("drain = %v, outputs lost = %t, want both errors without outputs", err, q.holdsOutputs())
		}
		if n := len(s.batches); n < 12 || n > 22 {
			t.Errorf("%d attempts in five minutes, want them until its end with growing pauses", n-2)
		}
		q.add(job.Record{ID: "y", Variables: map[string]job.Variable{"tag": {Value: "1"}}})
		if err := drain(); err == nil || !q.holdsOutputs() {
			t.Errorf("drain = %v, outputs lost = %t, want an error with outputs", err, q.holdsOutputs())
		}
		s.fail(&StatusError{Code: 404, TypeKey: KeyPlanNotFound})
		before := len(s.batches)
		if err := drain(); !errors.Is(err, ErrPlanGone) || len(s.batches) != before+1 {
			t.Errorf("drain = %v after %d attempts, want one: the plan is over", err, len(s.batches)-before)
		}
	})
}

var (
	errLate   = errors.New("too late")
	errBroken = &connectionError{errors.New("connection refused")}
)

// wantPauses checks that the times of attempts are first apart, and twice as far
// each time up to longest, a quarter more or less.
func wantPauses(t *testing.T, at []time.Duration, first, longest time.Duration) {
	t.Helper()
	for i := 1; i < len(at); i++ {
		got := at[i] - at[i-1]
		if want := min(first<<(i-1), longest); got < want-want/4 || got > want+want/4 {
			t.Errorf("pause %d = %s, want about %s; all attempts: %v", i, got, want, at)
		}
	}
}

func TestFailedBatchesAreRepeatedWithGrowingPauses(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		s.fail(errBroken)
		q.add(job.Record{ID: "a"})
		time.Sleep(3 * time.Minute)
		s.mu.Lock()
		at := slices.Clone(s.at)
		s.mu.Unlock()
		if len(at) < 9 {
			t.Errorf("%d attempts in three minutes: %v", len(at), at)
		}
		for i := range at {
			at[i] -= time.Duration(i) * recordPause
		}
		wantPauses(t, at, recordPeriod, recordPauseMax)
		s.fail(nil)
		time.Sleep(time.Minute)
		q.add(job.Record{ID: "b"})
		time.Sleep(time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		if last := s.batches[len(s.batches)-1]; !slices.Equal(ids(last), []string{"b"}) {
			t.Errorf("last batch = %v, want b alone: a was taken, and the rhythm is the usual one again", ids(last))
		}
	})
}

func TestWhatTheServerAsksForWinsOverTheRhythm(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		s.fail(&StatusError{Code: 429, RetryAfter: 100 * time.Second})
		q.add(job.Record{ID: "a"})
		time.Sleep(5 * time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := 1; i < len(s.at); i++ {
			if pause := s.at[i] - s.at[i-1]; pause < 100*time.Second || pause > 126*time.Second {
				t.Errorf("pause %d = %s, want 100 s and up to a quarter more", i, pause)
			}
		}
		if len(s.at) < 3 {
			t.Errorf("attempts at %v, want three or more", s.at)
		}
	})
}

func TestARefusedRecordDoesNotHoldUpTheOthers(t *testing.T) {
	var accepted []string
	q := newRecordQueue(func(_ context.Context, batch []job.Record) error {
		if slices.Contains(ids(batch), "bad") {
			return &StatusError{Code: 400}
		}
		accepted = append(accepted, ids(batch)...)
		return nil
	}, slog.New(slog.DiscardHandler))
	for _, id := range []job.RecordID{"a", "bad", "b"} {
		q.add(job.Record{ID: id})
	}
	if err := q.drain(t.Context()); err != nil || !slices.Equal(accepted, []string{"a", "b"}) || q.holdsOutputs() {
		t.Errorf("drain = %v, accepted %v, want a and b", err, accepted)
	}
	q.add(job.Record{ID: "bad", Variables: map[string]job.Variable{"tag": {Value: "1"}}})
	if err := q.drain(t.Context()); err != nil || !q.holdsOutputs() {
		t.Errorf("drain = %v, outputs lost = %t, want them lost", err, q.holdsOutputs())
	}
}

// A batch that run has under way when the job ends is drain's to send, and its
// outputs count as undelivered until it has.
func TestABatchUnderWayAtTheEndIsSentAgainOrCountsAsLost(t *testing.T) {
	for name, works := range map[string]bool{"the server comes back": true, "the server stays away": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				calls, delivered := 0, 0
				q := newRecordQueue(func(ctx context.Context, batch []job.Record) error {
					mu.Lock()
					calls++
					first := calls == 1
					mu.Unlock()
					if first || !works {
						<-ctx.Done() // the server has stopped answering
						return context.Cause(ctx)
					}
					mu.Lock()
					defer mu.Unlock()
					delivered += len(batch)
					return nil
				}, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go q.run(ctx)
				q.add(job.Record{ID: "S", Variables: map[string]job.Variable{"tag": {Value: "1"}}})
				time.Sleep(time.Second)
				drainCtx, end := context.WithTimeout(ctx, 8*time.Second)
				defer end()
				err := q.drain(drainCtx)
				if (err == nil) != works || q.holdsOutputs() == works || (delivered == 1) != works {
					t.Errorf("drain = %v, outputs held: %t, %d delivered", err, q.holdsOutputs(), delivered)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// The page of a proxy is not the service's word about a record.
func TestAProxysPageRefusesNoRecord(t *testing.T) {
	if refusedForGood(&StatusError{Code: 400, Excerpt: "<html>"}) || !refusedForGood(&StatusError{Code: 400}) {
		t.Error("a proxy's 400 drops records, or the service's does not")
	}
}

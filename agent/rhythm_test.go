package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

// bareService is a service without a server: tests give it the requests that its
// loops make. Times are the protocol's.
func bareService() *service {
	a := &Agent{log: slog.New(slog.DiscardHandler), timings: protocolTimings(), end: newEnding(Config{}.drainBudget, func(phase) {})}
	s := &service{Agent: a, registered: &registered{}, session: ado.Session{ID: "old"}}
	s.leave = func(error) {}
	return s
}

var errServer = &ado.StatusError{Method: http.MethodGet, Path: "/", Code: http.StatusInternalServerError}

// renewals runs keepLocked in a bubble with a renewal that answers, and returns
// when it was asked and how it ended.
func renewals(t *testing.T, held time.Duration, runFor time.Duration, answer func(n int) (time.Duration, error)) (at []time.Duration, lost error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		started := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), runFor)
		defer cancel()
		lock, lose := context.WithCancelCause(ctx)
		s.renew = func(_ context.Context, id job.RequestID) (ado.JobRequest, error) {
			at = append(at, time.Since(started))
			ahead, err := answer(len(at))
			return ado.JobRequest{RequestID: id, LockedUntil: job.At(time.Now().Add(ahead))}, err
		}
		s.keepLocked(lock, 903, started.Add(held), lose)
		if ctx.Err() == nil {
			lost = context.Cause(lock)
		}
	})
	return at, lost
}

// Protocol §7.1: every 60 s after the previous success.
func TestA14RequestsAreRenewedEveryMinute(t *testing.T) {
	at, lost := renewals(t, 10*time.Minute, 5*time.Minute+time.Second, func(int) (time.Duration, error) { return 10 * time.Minute, nil })
	if want := []time.Duration{1 * time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute}; !slices.Equal(at, want) || lost != nil {
		t.Errorf("renewals at %v (lost: %v), want %v", at, lost, want)
	}
}

func TestAShortLockIsRenewedInTime(t *testing.T) {
	at, lost := renewals(t, 10*time.Second, time.Minute, func(int) (time.Duration, error) { return 10 * time.Second, nil })
	if len(at) < 11 || len(at) > 12 || lost != nil {
		t.Errorf("%d renewals in a minute (lost: %v), want one every five seconds", len(at), lost)
	}
}

// A date that our clock makes no sense of means the usual length.
func TestAWrongClockDoesNotLoseTheLock(t *testing.T) {
	for _, skew := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		at, lost := renewals(t, 10*time.Minute, 3*time.Minute+time.Second, func(int) (time.Duration, error) { return skew, nil })
		if len(at) != 3 || lost != nil {
			t.Errorf("clock wrong by %s: %d renewals in three minutes (lost: %v), want 3", skew, len(at), lost)
		}
	}
}

// Protocol §7.1: random 5–15 s (first 5 errors) then 15–30 s, until lockedUntil
// and five minutes have passed.
func TestA15FailedRenewalsAreRepeatedUntilTheLockIsLongOver(t *testing.T) {
	at, lost := renewals(t, 10*time.Minute, time.Hour, func(int) (time.Duration, error) { return 0, errServer })
	reason, ok := errors.AsType[*job.Stop](lost)
	if !ok || reason.Reason != job.StopLockLost {
		t.Fatalf("lost = %v, want a lost lock", lost)
	}
	if last := at[len(at)-1]; last < 15*time.Minute || last > 15*time.Minute+30*time.Second {
		t.Errorf("the lock was given up after %s, want 15 minutes", last)
	}
	for i := 1; i < len(at); i++ {
		pause := at[i] - at[i-1]
		least, most := 15*time.Second, 30*time.Second
		if i <= 5 {
			least, most = 5*time.Second, 15*time.Second
		}
		if near := 10*time.Minute - at[i-1]; near > 0 && near < time.Minute {
			least = 0 // hurrying before the lock ends
		}
		if pause < least || pause > most {
			t.Errorf("pause %d is %s, want %s to %s", i, pause, least, most)
		}
	}
}

func TestARenewalThatIsRefusedLosesTheLockAtOnce(t *testing.T) {
	for _, key := range []ado.TypeKey{ado.KeyJobNotFound, ado.KeyJobTokenExpired} {
		at, lost := renewals(t, 10*time.Minute, time.Hour, func(int) (time.Duration, error) {
			return 0, &ado.StatusError{Code: http.StatusNotFound, TypeKey: key}
		})
		if reason, ok := errors.AsType[*job.Stop](lost); !ok || reason.Reason != job.StopLockLost || len(at) != 1 {
			t.Errorf("%s: lost = %v after %d renewals, want a lost lock after one", key, lost, len(at))
		}
	}
}

// Protocol §7.1: one attempt plus up to five retries, random 1–10 s apart.
func TestTheFirstRenewalIsTriedSixTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		n := 0
		s.renew = func(context.Context, job.RequestID) (ado.JobRequest, error) {
			n++
			return ado.JobRequest{}, errServer
		}
		started := time.Now()
		_, err := s.firstRenewal(t.Context(), &job.Message{RequestID: 903})
		if took := time.Since(started); err == nil || n != 6 || took < 5*time.Second || took > 50*time.Second {
			t.Errorf("firstRenewal = %v after %d attempts in %s, want an error after 6 in 5 to 50 s", err, n, took)
		}
		s.renew = func(context.Context, job.RequestID) (ado.JobRequest, error) {
			return ado.JobRequest{JobID: "other", LockedUntil: job.At(time.Now().Add(time.Minute))}, nil
		}
		if _, err := s.firstRenewal(t.Context(), &job.Message{RequestID: 903, JobID: "mine"}); !errors.Is(err, ado.ErrLockLost) {
			t.Errorf("firstRenewal of another job's request = %v, want ErrLockLost", err)
		}
	})
}

// Protocol §5.3: random 15–30 s after each of the first five errors, 30–60 s
// after the later ones; no pause after an empty answer. And Health.Poll.
func TestPollsFollowTheProtocolsRhythm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		var beat time.Time
		s.deps.Health.Poll = func() {
			if silence := time.Since(beat); !beat.IsZero() && silence > MaxPollSilence {
				t.Errorf("no beat for %s, want at most %s", silence, MaxPollSilence)
			}
			beat = time.Now()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var at []time.Time
		s.next = func(context.Context, ado.MessageID) (*ado.Envelope, error) {
			at = append(at, time.Now())
			switch n := len(at); {
			case n <= 8:
				return nil, errServer
			case n <= 12:
				time.Sleep(50 * time.Second)
				return nil, nil
			}
			cancel()
			return nil, ctx.Err()
		}
		if err := s.poll(ctx); err != nil {
			t.Errorf("poll = %v, want nil", err)
		}
		for i := 1; i < len(at); i++ {
			least, most := 50*time.Second, 50*time.Second
			switch {
			case i <= 5:
				least, most = 15*time.Second, 30*time.Second
			case i <= 8:
				least, most = 30*time.Second, 60*time.Second
			}
			if pause := at[i].Sub(at[i-1]); pause < least || pause > most {
				t.Errorf("pause %d is %s, want %s to %s", i, pause, least, most)
			}
		}
	})
}

// After an outage the agents of a pool do not return in the same second, whether
// their polls failed or their sessions are gone.
func TestAThousandAgentsComeBackSpreadOverSeconds(t *testing.T) {
	for name, lost := range map[string]error{
		"polls failed":  errServer,
		"sessions gone": &ado.StatusError{Code: http.StatusForbidden, TypeKey: ado.KeySessionExpired},
		"told to wait":  &ado.StatusError{Code: http.StatusServiceUnavailable, RetryAfter: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const agents = 1000
				var mu sync.Mutex
				perSecond := map[time.Duration]int{}
				started := time.Now()
				back := func() {
					mu.Lock()
					defer mu.Unlock()
					perSecond[time.Since(started).Truncate(time.Second)]++
				}
				var all sync.WaitGroup
				for range agents {
					all.Go(func() {
						s := bareService()
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						polls := 0
						s.open = func(context.Context) (ado.Session, error) { return ado.Session{ID: "new"}, nil }
						s.next = func(context.Context, ado.MessageID) (*ado.Envelope, error) {
							if polls++; polls == 1 {
								return nil, lost
							}
							back()
							cancel()
							return nil, ctx.Err()
						}
						if err := s.poll(ctx); err != nil {
							t.Errorf("poll = %v", err)
						}
					})
				}
				all.Wait()
				// Ten seconds is the narrowest spread: a hundred a second on average.
				for second, n := range perSecond {
					if n > agents/5 {
						t.Errorf("%d of %d agents came back in second %s", n, agents, second)
					}
				}
			})
		})
	}
}

// Protocol §5.6.
func TestSomeErrorsEndPolling(t *testing.T) {
	for key, want := range map[ado.TypeKey]error{
		ado.KeyAccessTokenExpired: ado.ErrRevoked, ado.KeyAgentNotFound: ado.ErrAgentNotFound, ado.KeyPoolNotFound: ado.ErrPoolNotFound,
		ado.KeyAccessDenied: ado.ErrAccessDenied, ado.KeyUnauthorized: ado.ErrUnauthorized,
	} {
		s := bareService()
		s.next = func(context.Context, ado.MessageID) (*ado.Envelope, error) {
			return nil, fmt.Errorf("polling: %w", &ado.StatusError{Code: http.StatusForbidden, TypeKey: key})
		}
		if err := s.poll(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: poll = %v, want %v", key, err, want)
		}
	}
}

func TestAnExpiredSessionIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		var ready []bool
		s.deps.Health.Ready = func(open bool) { ready = append(ready, open) }
		ctx, cancel := context.WithCancel(t.Context())
		s.open = func(context.Context) (ado.Session, error) { return ado.Session{ID: "new"}, nil }
		s.next = func(context.Context, ado.MessageID) (*ado.Envelope, error) {
			if s.session.ID == "new" {
				cancel()
				return nil, nil
			}
			return nil, &ado.StatusError{Code: http.StatusForbidden, TypeKey: ado.KeySessionExpired}
		}
		if err := s.poll(ctx); err != nil || !slices.Equal(ready, []bool{false, true}) {
			t.Errorf("poll = %v, ready = %v, want a session, not ready in between", err, ready)
		}
	})
}

// Protocol §4.2.
func TestA9OpeningASessionIsTriedAgainWhileItMayHelp(t *testing.T) {
	for name, c := range map[string]struct {
		err        error
		attempts   int // zero: many
		least      time.Duration
		most       time.Duration
		wantInText string
	}{
		"conflict":    {&ado.StatusError{Code: 409, TypeKey: ado.KeySessionConflict}, 0, 4 * time.Minute, 4*time.Minute + 30*time.Second, "within 4m0s"},
		"server":      {errServer, 0, 30 * time.Minute, 31 * time.Minute, "within 30m0s"},
		"agent gone":  {&ado.StatusError{Code: 404, TypeKey: ado.KeyAgentNotFound}, 1, 0, 0, ""},
		"revoked":     {&ado.StatusError{Code: 401, TypeKey: ado.KeyAccessTokenExpired}, 1, 0, 0, ""},
		"denied":      {&ado.StatusError{Code: 403, TypeKey: ado.KeyAccessDenied}, 1, 0, 0, ""},
		"wrong clock": {ado.ErrClockSkew, 1, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := bareService()
				n := 0
				s.open = func(context.Context) (ado.Session, error) {
					n++
					return ado.Session{}, c.err
				}
				started := time.Now()
				_, err := s.openSession(t.Context())
				took := time.Since(started)
				if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.wantInText) || took < c.least || took > c.most || (c.attempts > 0 && n != c.attempts) {
					t.Errorf("openSession = %v after %d attempts in %s, want %v in %s to %s", err, n, took, c.err, c.least, c.most)
				}
			})
		})
	}
}

// Protocol §5.4, A34: whatever is not understood is deleted.
func TestA34MessagesThatNobodyUnderstandsAreDeleted(t *testing.T) {
	for name, e := range map[string]ado.Envelope{
		"unknown type":           {MessageType: "BrokerMigration", Body: `{"x":1}`},
		"legacy job":             {MessageType: "JobRequest", Body: `{}`},
		"update":                 {MessageType: "agentrefresh", Body: `{"targetVersion":"9.9.9"}`},
		"unreadable job":         {MessageType: "PipelineAgentJobRequest", Body: `{"jobId":`},
		"job without ids":        {MessageType: "PipelineAgentJobRequest", Body: `{}`},
		"unreadable cancel":      {MessageType: "JobCancellation", Body: `5`},
		"cancel of another job":  {MessageType: "jobcancellation", Body: `{"jobId":"x","timeout":"00:05:00"}`},
		"metadata without a job": {MessageType: "Whatever", Body: `{"jobId":"x","postLinesFrequencyMillis":500}`},
	} {
		s := bareService()
		if !s.take(t.Context(), e) || s.running != nil {
			t.Errorf("%s: kept or started, want it deleted", name)
		}
	}
}

func TestNothingInAMessageMakesTheAgentPanic(t *testing.T) {
	s := bareService()
	for _, kind := range []string{"JobCancellation", "AgentRefresh", "JobMetadataUpdate", ""} {
		for _, body := range []string{"", "null", "[]", `"x"`, "5", "{}", `{"jobId":null,"timeout":null}`, "\xff"} {
			s.take(t.Context(), ado.Envelope{MessageType: kind, Body: body})
		}
	}
}

func FuzzTake(f *testing.F) {
	f.Add("PipelineAgentJobRequest", `{"jobId":"J","plan":{"planId":"P"},"timeline":{"id":"P"}}`)
	f.Add("JobCancellation", `{"jobId":"J","timeout":"00:05:00"}`)
	f.Add("x", `{"jobId":"J","postLinesFrequencyMillis":500}`)
	f.Fuzz(func(t *testing.T, kind, body string) {
		s := bareService()
		s.end.order(Order{}) // nothing starts
		s.take(t.Context(), ado.Envelope{MessageID: 1, MessageType: kind, Body: body})
		if s.running != nil || s.parked != nil {
			t.Error("a draining agent took a job")
		}
	})
}

func TestTheFirstReasonToStopCounts(t *testing.T) {
	w := newWork(&job.Message{})
	first := &job.Stop{Reason: job.StopCanceled, Message: "first"}
	w.stop(first) // before the job has begun
	w.stop(&job.Stop{Reason: job.StopShutdown})
	w.stop(&job.Stop{Reason: job.StopShutdown})
	var got []*job.Stop
	w.begun(func(reason *job.Stop) { got = append(got, reason) })
	if len(got) != 1 || got[0] != first {
		t.Errorf("the job was stopped with %v, want once with the first reason", got)
	}
	select {
	case <-w.leaving:
	default:
		t.Error("the shutdown does not shorten the grace")
	}
}

// A job that was canceled with a long grace must not outlive the drain budget.
func TestAShutdownEndsTheGraceOfACancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		free := make(chan struct{})
		s.runs = func(context.Context, *job.Message, Conn) (job.Result, error) {
			<-free
			return job.Succeeded, nil
		}
		w := newWork(&job.Message{JobID: "J"})
		ctx, cancel := context.WithCancelCause(t.Context())
		w.begun(func(reason *job.Stop) { cancel(reason) })
		started := time.Now()
		var done sync.WaitGroup
		done.Go(func() {
			time.Sleep(time.Minute)
			w.stop(&job.Stop{Reason: job.StopCanceled, Grace: time.Hour})
			time.Sleep(time.Minute)
			w.stop(&job.Stop{Reason: job.StopShutdown})
		})
		result := s.supervise(ctx, w, Conn{})
		if took := time.Since(started); took != 2*time.Minute+s.timings.shutdownKill || result != job.Canceled || s.fatal == nil {
			t.Errorf("supervise = %s after %s, want canceled %s after the shutdown, and the agent's end", result, took, s.timings.shutdownKill)
		}
		close(free)
		done.Wait()
	})
}

// What follows the drain budget fits the half minute of Config.DrainTimeout.
func TestLeavingTakesLessThanHalfAMinuteAfterTheBudget(t *testing.T) {
	p := protocolTimings()
	if sum := p.shutdownKill + p.completeStop + 2*p.unregister; sum > 30*time.Second {
		t.Errorf("the end may take %s, want at most 30s", sum)
	}
}

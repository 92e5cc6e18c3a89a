package runner

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// supervised runs the supervisor of a job without steps in a bubble. Last is when it
// beat, in ns since the start, and ended says that it said so.
func supervised(ctx context.Context, t *testing.T, test func(x *execution, last *atomic.Int64, ended *atomic.Bool)) error {
	t.Helper()
	var last atomic.Int64
	var ended atomic.Bool
	began := time.Now()
	x := &execution{log: slog.New(slog.DiscardHandler), rep: discard{}}
	x.cfg.Beat = func(running bool) {
		last.Store(int64(time.Since(began)))
		ended.Store(!running)
	}
	over, done := make(chan struct{}), make(chan struct{})
	hard, end := context.WithCancelCause(context.Background())
	defer end(errOver)
	go func() {
		defer close(done)
		x.supervise(ctx, end, over)
	}()
	test(x, &last, &ended)
	close(over)
	<-done
	if !ended.Load() {
		t.Error("the supervisor ended without a last beat")
	}
	return context.Cause(hard)
}

func silent(began time.Time, last *atomic.Int64) time.Duration {
	return time.Since(began) - time.Duration(last.Load())
}

func TestAStepOfThreeHoursBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_ = supervised(t.Context(), t, func(x *execution, last *atomic.Int64, _ *atomic.Bool) {
			defer x.watch(t.Context(), "compile everything")()
			for range 3 * 60 {
				time.Sleep(time.Minute)
				if got := silent(began, last); got > MaxStepSilence {
					t.Fatalf("silent for %s, want at most %s", got, MaxStepSilence)
				}
			}
		})
	})
}

func TestAStepThatDoesNotEndWhenItHasToStopsTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_ = supervised(t.Context(), t, func(x *execution, last *atomic.Int64, _ *atomic.Bool) {
			step, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errTimeout)
			defer cancel()
			ended := x.watch(step, "hangs")
			time.Sleep(time.Hour + MaxStepSilence)
			if got := silent(began, last); got < MaxStepSilence-lookPeriod {
				t.Errorf("silent for %s after the end of a step that goes on, want about %s", got, MaxStepSilence)
			}
			ended()
			time.Sleep(lookPeriod)
			synctest.Wait() // its look is due at this very moment
			if got := silent(began, last); got > lookPeriod {
				t.Errorf("silent for %s when the step has ended, want at most %s", got, lookPeriod)
			}
		})
	})
}

func TestAJobOfManyShortStepsBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_ = supervised(t.Context(), t, func(x *execution, last *atomic.Int64, _ *atomic.Bool) {
			for range 1000 {
				ended := x.watch(t.Context(), "short")
				time.Sleep(lookPeriod / 3)
				ended()
				time.Sleep(2 * lookPeriod / 3) // most looks find no step
				if got := silent(began, last); got > lookPeriod {
					t.Fatalf("silent for %s, want at most %s", got, lookPeriod)
				}
			}
		})
	})
}

// stops is a report that a job gets no further with than to a line or the end of a record.
type stops struct {
	discard
	at    string // part of the line, or name of the record
	freed chan struct{}
}

func (s *stops) UpdateRecord(r job.Record) {
	if r.State == job.Completed && r.Name == s.at {
		<-s.freed
	}
}

func (s *stops) WriteLine(_ job.RecordID, line []byte) {
	if strings.Contains(string(line), s.at) {
		<-s.freed
	}
}

// A job hangs where no step runs as well: in what comes before and after all of them, and
// between two.
func TestAJobThatStandsStillOutsideItsStepsDoesNotBeat(t *testing.T) {
	for name, at := range map[string]string{
		"before its first step": "Preparing the work folder",
		"before anything":       "Starting: Initialize job",
		"before a step":         "Starting: nothing",
		"after a step":          "Finishing: nothing",
		"at its end":            "Starting: Finalize Job",
		"after all its parts":   "Job 7",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var last atomic.Int64
				began := time.Now()
				r, err := New(Config{
					Work: t.TempDir(), AgentName: "agent", NativeTasks: "on",
					Beat: func(bool) { last.Store(int64(time.Since(began))) },
				}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				report := &stops{at: at, freed: make(chan struct{})}
				m := &job.Message{JobID: "9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e10", JobDisplayName: "Job 7", Steps: []job.Step{{
					ID: "s", Type: "task", DisplayName: "nothing", Reference: job.TaskReference{ID: "b7e8b412-0437-4065-9371-edc5881de25b", Name: "DeleteFiles", Version: "1.274.1"},
					Inputs: map[string]string{"Contents": "nothing"},
				}}}
				done := make(chan struct{})
				go func() {
					defer close(done)
					if _, err := r.Run(t.Context(), m, report); err != nil {
						t.Error(err)
					}
				}()
				time.Sleep(time.Minute + time.Hour)
				if got := silent(began, &last); got < 50*time.Minute {
					t.Errorf("silent for %s of an hour in which nothing goes on, want most of it", got)
				}
				close(report.freed)
				<-done
			})
		})
	}
}

// deaf is a server whose answer takes a time, and that hears nothing of the end of a context.
type deaf time.Duration

func (d deaf) FetchTask(context.Context, job.TaskReference, io.Writer) error {
	time.Sleep(time.Duration(d))
	return errors.New("there is no such task")
}

// Nobody has to cancel the job for that.
func TestAPreparationThatDoesNotEndWhenItsTimeIsOverStopsTheBeat(t *testing.T) {
	for name, test := range map[string]struct {
		fetch time.Duration // of each of three attempts
		hangs bool
	}{
		"a slow server":              {6 * time.Minute, false},
		"one that keeps us too long": {5 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var last atomic.Int64
				began := time.Now()
				r, err := New(Config{
					Work: t.TempDir(), AgentName: "agent", NativeTasks: "on", Tasks: deaf(test.fetch),
					Beat: func(bool) { last.Store(int64(time.Since(began))) },
				}, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				m := &job.Message{JobID: "9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e10", JobDisplayName: "Job 7", Steps: []job.Step{{
					ID: "s", Type: "task", DisplayName: "foreign", Reference: job.TaskReference{ID: "0b0f01ed-7dde-43ff-9cbb-e48954daf9b1", Name: "Foreign", Version: "1.2.3"},
				}}}
				done := make(chan struct{})
				go func() {
					defer close(done)
					if out, err := r.Run(t.Context(), m, discard{}); err != nil || out.Result != job.Failed {
						t.Errorf("Run = %s, %v; want a failed job", out.Result, err)
					}
				}()
				var longest time.Duration
				for ended := false; !ended; {
					select {
					case <-done:
						ended = true
					case <-time.After(lookPeriod / 2):
						longest = max(longest, silent(began, &last))
					}
				}
				if hangs := longest > MaxStepSilence; hangs != test.hangs {
					t.Errorf("silent for %s, want more than %s: %t", longest, MaxStepSilence, test.hangs)
				}
			})
		})
	}
}

func TestAPartOfThePreparationThatTakesTooLongIsNamed(t *testing.T) {
	for name, do := range map[string]func(context.Context) error{
		"it says why it ended":   func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
		"it says that it ended":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"it says something else": func(ctx context.Context) error { <-ctx.Done(); return errors.New("connection closed") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &execution{log: slog.New(slog.DiscardHandler), rep: discard{}}
				err := x.within(t.Context(), briefly, "asking somebody", do)
				if err == nil || strings.Count(err.Error(), "asking somebody took longer than 2m0s") != 1 {
					t.Errorf("within() = %v, want what took too long, once", err)
				}
				if all := flatten(err); len(all) != 1 {
					t.Errorf("the job gets %q, want one error", all)
				}
				if len(x.watched) != 0 {
					t.Errorf("%d parts are watched that have ended", len(x.watched))
				}
			})
		})
	}
}

// full is a report that the server does not take.
type full struct {
	Reporter
	waits atomic.Bool
}

func (f *full) Waits() bool { return f.waits.Load() }

// A step that cannot end because its output has nowhere to go waits for the server, as
// the report does, whose own beat says whether that goes on.
func TestAStepThatWaitsForItsReportBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_ = supervised(t.Context(), t, func(x *execution, last *atomic.Int64, _ *atomic.Bool) {
			report := &full{}
			report.waits.Store(true)
			x.rep = report
			step, cancel := context.WithCancelCause(t.Context())
			cancel(errTimeout)
			defer x.watch(step, "prints")()
			time.Sleep(time.Hour)
			if got := silent(began, last); got > lookPeriod {
				t.Errorf("silent for %s while the report is full, want at most %s", got, lookPeriod)
			}
			report.waits.Store(false)
			time.Sleep(time.Hour)
			if got := silent(began, last); got < 50*time.Minute {
				t.Errorf("silent for %s of an hour in which only the step hangs, want most of it", got)
			}
		})
	})
}

func TestAJobThatHangsOnItsOwnLockDoesNotBeat(t *testing.T) {
	began := time.Now()
	x := &execution{log: slog.New(slog.DiscardHandler), rep: discard{}}
	var beats atomic.Int32
	x.cfg.Beat = func(bool) { beats.Add(1) }
	x.mu.Lock()
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		x.look()
	}()
	select {
	case <-looked:
		t.Errorf("the supervisor looked at a locked job within %s", time.Since(began))
	case <-time.After(50 * time.Millisecond):
	}
	if n := beats.Load(); n != 0 {
		t.Errorf("%d beats of a locked job, want none", n)
	}
	x.mu.Unlock()
	if <-looked; beats.Load() != 1 {
		t.Errorf("%d beats after the lock was let go, want one", beats.Load())
	}
}

// Protocol §8.14: the grace of a cancellation, less what the report takes.
func TestTheSupervisorEndsAJobThatUsedUpItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		began := time.Now()
		cause := supervised(ctx, t, func(x *execution, last *atomic.Int64, _ *atomic.Bool) {
			defer x.watch(t.Context(), "cleans up")()
			cancel(&job.Stop{Reason: job.StopCanceled, Message: "canceled", Grace: 10 * time.Minute})
			time.Sleep(20 * time.Minute)
			if got := silent(began, last); got > lookPeriod {
				t.Errorf("silent for %s after the grace, want at most %s: the job still ends", got, lookPeriod)
			}
		})
		if stop, ok := errors.AsType[*job.Stop](cause); !ok || stop.Grace != 10*time.Minute {
			t.Errorf("the job ended with %v, want its stop as the cause", cause)
		}
	})
}

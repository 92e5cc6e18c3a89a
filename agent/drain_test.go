package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestTheDrainBudgetFitsWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		order  Order
		want   time.Duration
	}{
		"nothing is known":                  {Config{}, Order{}, time.Minute},
		"a budget":                          {Config{DrainTimeout: new(50 * time.Minute)}, Order{}, 50 * time.Minute},
		"no budget at all":                  {Config{DrainTimeout: new(time.Duration)}, Order{}, 0},
		"a grace period":                    {Config{GracePeriod: Period(52 * time.Minute)}, Order{}, 51*time.Minute + 30*time.Second},
		"a budget beyond the grace period":  {Config{DrainTimeout: new(time.Hour), GracePeriod: Period(time.Minute)}, Order{}, 30 * time.Second},
		"a budget within the grace period":  {Config{DrainTimeout: new(time.Minute), GracePeriod: Period(time.Hour)}, Order{}, time.Minute},
		"the grace period of a default pod": {Config{GracePeriod: Period(30 * time.Second)}, Order{}, 0},
		"a notice of two minutes":           {Config{DrainTimeout: new(time.Hour)}, Order{Within: 2 * time.Minute}, 90 * time.Second},
		"a notice of half a minute":         {Config{}, Order{Within: 30 * time.Second}, 0},
		"a notice beyond the budget":        {Config{DrainTimeout: new(time.Minute)}, Order{Within: time.Hour}, time.Minute},
	} {
		if got := c.config.drainBudget(c.order); got != c.want {
			t.Errorf("%s: budget = %s, want %s", name, got, c.want)
		}
	}
}

func TestAPeriodIsSecondsOrADuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"3120": 52 * time.Minute, "": 0, "0": 0, "1h30m": 90 * time.Minute, "45s": 45 * time.Second} {
		var p Period
		if err := p.UnmarshalText([]byte(text)); err != nil || time.Duration(p) != want {
			t.Errorf("%q is %s, %v, want %s", text, time.Duration(p), err, want)
		}
	}
	for _, text := range []string{"-5", "1.5", "soon", "99999999999"} {
		if err := new(Period).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a period, want an error", text)
		}
	}
}

func TestALaterOrderShortensTheDrainAndNeverLengthensIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnding(Config{DrainTimeout: new(time.Hour)}.drainBudget, func(phase) {})
		ctx, stop := context.WithCancelCause(t.Context())
		e.bind(stop)
		if e.told() || ctx.Err() != nil {
			t.Fatal("an agent drains before it was told")
		}
		e.order(Order{Reason: "SIGTERM"})
		first := e.due()
		if !e.told() || context.Cause(ctx).Error() != "SIGTERM" || time.Until(first.until) != time.Hour {
			t.Errorf("after the order: told %t, cause %v, %s left", e.told(), context.Cause(ctx), time.Until(first.until))
		}
		time.Sleep(time.Minute)
		e.order(Order{Reason: "SIGTERM again"})
		select {
		case <-first.changed:
			t.Error("a second order with a later deadline counts")
		default:
		}
		e.order(Order{Reason: "preempted", Within: 2 * time.Minute})
		select {
		case <-first.changed:
		default:
			t.Error("a nearer deadline does not count")
		}
		if d := e.due(); time.Until(d.until) != 90*time.Second || d.reason != "preempted" {
			t.Errorf("due in %s because %q, want 90 s because of the preemption", time.Until(d.until), d.reason)
		}
	})
}

func TestAnOrderBeforeTheStartCounts(t *testing.T) {
	e := newEnding(Config{}.drainBudget, func(phase) {})
	e.order(Order{Reason: "early"})
	ctx, stop := context.WithCancelCause(t.Context())
	e.bind(stop)
	if ctx.Err() == nil {
		t.Error("an agent that was told to stop before it ran goes on")
	}
}

func TestThePhasesOfAnEndOnlyGrow(t *testing.T) {
	e := newEnding(Config{}.drainBudget, func(phase) {})
	for _, p := range []phase{draining, canceling, left} {
		e.reach(p)
		e.reach(working)
		if e.phase != p || p.String() == "" {
			t.Errorf("phase = %v, want %v", e.phase, p)
		}
	}
}

// drainOf runs letFinish for a job that ends after a time, or only when it is
// told to, and returns when that was and what the job was told.
func drainOf(t *testing.T, c Config, endsAfter time.Duration, meanwhile func(*ending)) (took time.Duration, told *job.Stop) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &service{Agent: &Agent{log: slog.New(slog.DiscardHandler), end: newEnding(c.drainBudget, func(phase) {})}}
		s.leave = func(error) {}
		w := newWork(&job.Message{JobID: "J"})
		ended, end := context.WithCancelCause(t.Context())
		w.begun(func(reason *job.Stop) { told = reason; end(reason) })
		s.running = w
		started := time.Now()
		go func() {
			select {
			case <-time.After(endsAfter):
			case <-ended.Done():
			}
			close(w.done)
		}()
		go meanwhile(s.end)
		s.end.order(Order{Reason: "SIGTERM"})
		s.drain(t.Context(), due{}, func() {})
		took = time.Since(started)
		if s.end.phase != left {
			t.Errorf("phase at the end = %s, want left", s.end.phase)
		}
		synctest.Wait()
	})
	return took, told
}

func TestAJobThatFitsTheBudgetEndsByItself(t *testing.T) {
	took, told := drainOf(t, Config{DrainTimeout: new(time.Hour)}, 40*time.Minute, func(*ending) {})
	if took != 40*time.Minute || told != nil {
		t.Errorf("drained after %s, job told %v, want 40m0s and nothing", took, told)
	}
}

func TestAJobThatDoesNotFitIsCanceledAndSaysWhy(t *testing.T) {
	took, told := drainOf(t, Config{DrainTimeout: new(time.Hour)}, 2*time.Hour, func(*ending) {})
	if took != time.Hour || told == nil || told.Reason != job.StopShutdown ||
		told.Message != "the agent was told to stop (SIGTERM) and the job did not finish within its drain budget of 1h0m0s" {
		t.Errorf("drained after %s, job told %+v, want a cause that names the budget", took, told)
	}
}

func TestAPreemptionShortensADrainThatIsUnderWay(t *testing.T) {
	took, told := drainOf(t, Config{DrainTimeout: new(time.Hour)}, 2*time.Hour, func(e *ending) {
		time.Sleep(10 * time.Minute)
		e.order(Order{Reason: "the machine is preempted", Within: 30 * time.Second})
	})
	if took != 10*time.Minute || told == nil || !strings.Contains(told.Message, "the machine is preempted") || !strings.Contains(told.Message, "no time left") {
		t.Errorf("drained after %s, job told %+v, want it at once and named", took, told)
	}
}

// A server that is away must not hold up the end of an agent that was told to
// stop after it began to report.
func TestTheReportOfAJobEndsWithTheDrainBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{Agent: &Agent{timings: protocolTimings(), end: newEnding(Config{DrainTimeout: new(time.Minute)}.drainBudget, func(phase) {})}}
		started := time.Now()
		ctx, cancel := s.completion(t.Context())
		defer cancel()
		time.Sleep(time.Minute)
		s.end.order(Order{Reason: "SIGTERM"})
		<-ctx.Done()
		if took := time.Since(started); took != 2*time.Minute+s.timings.completeStop || errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("the report was given up after %s because of %v, want %s", took, context.Cause(ctx), 2*time.Minute+s.timings.completeStop)
		}
	})
}

// A job that ignores its first signals ends long after the deadline. Its report
// has its eight seconds all the same.
func TestTheReportOfAJobThatEndsLateHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{Agent: &Agent{timings: protocolTimings(), end: newEnding(Config{DrainTimeout: new(time.Duration)}.drainBudget, func(phase) {})}}
		s.end.order(Order{Reason: "SIGTERM"})
		time.Sleep(10 * time.Second)
		started := time.Now()
		ctx, cancel := s.completion(t.Context())
		defer cancel()
		<-ctx.Done()
		if took := time.Since(started); took != s.timings.completeStop {
			t.Errorf("the report was given up after %s, want %s", took, s.timings.completeStop)
		}
	})
}

func TestALostSessionIsNoOrderToStop(t *testing.T) {
	lost := due{cause: "the agent lost its session", reason: "403", granted: time.Minute}
	if got := lost.message(); got != "the agent lost its session (403) and the job did not finish within its drain budget of 1m0s" {
		t.Errorf("message = %q", got)
	}
}

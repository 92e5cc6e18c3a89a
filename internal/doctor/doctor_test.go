package doctor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/doctor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask returns a question that is answered after a time.
func ask(after time.Duration, results ...doctor.Result) func(context.Context) []doctor.Result {
	return func(context.Context) []doctor.Result {
		time.Sleep(after)
		return results
	}
}

var bounds = doctor.Bounds{Check: 10 * time.Second, All: 15 * time.Second}

func TestChecksRunSideBySideInBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		checks := []doctor.Check{
			{Group: "g", Topic: "slow", Ask: ask(9*time.Second, doctor.Result{Status: doctor.OK})},
			{Group: "g", Topic: "polite", Ask: func(ctx context.Context) []doctor.Result {
				<-ctx.Done()
				return []doctor.Result{{Status: doctor.Fail, Detail: "asking: " + context.Cause(ctx).Error()}}
			}},
			{Group: "g", Topic: "hangs", Name: "one that hangs", Ask: func(context.Context) []doctor.Result { <-release; return nil }},
			{Group: "h", Topic: "nothing", Ask: ask(0)},
			{Group: "h", Topic: "two", Ask: ask(0, doctor.Result{Topic: "a", Status: doctor.Warn}, doctor.Result{Name: "b", Status: doctor.Skip})},
		}
		start := time.Now()
		got := doctor.Run(t.Context(), checks, bounds)
		if took := time.Since(start); took != 10*time.Second+100*time.Millisecond {
			t.Errorf("all took %s, want one bound", took)
		}
		want := []doctor.Result{
			{Group: "g", Topic: "slow", Name: "slow", Status: doctor.OK, Seconds: 9},
			{Group: "g", Topic: "polite", Name: "polite", Status: doctor.Fail, Detail: "asking: no answer within 10s", Seconds: 10},
			{Group: "g", Topic: "hangs", Name: "one that hangs", Status: doctor.Fail, Detail: "no answer within 10s", Seconds: 10.1},
			{Group: "h", Topic: "a", Name: "a", Status: doctor.Warn},
			{Group: "h", Topic: "two", Name: "b", Status: doctor.Skip},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Run() (-want +got):\n%s", diff)
		}
		if n := doctor.Failed(got); n != 2 {
			t.Errorf("Failed() = %d, want 2", n)
		}
		close(release)
	})
}

func TestACheckWaitsForWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found := ""
		checks := []doctor.Check{
			{Group: "g", Topic: "third", Needs: []string{"second"}, Ask: ask(0, doctor.Result{Status: doctor.OK})},
			{Group: "g", Topic: "second", Needs: []string{"first"}, Ask: func(context.Context) []doctor.Result {
				return []doctor.Result{{Status: doctor.Fail, Detail: found + " is wrong"}}
			}},
			{Group: "g", Topic: "first", Ask: func(context.Context) []doctor.Result {
				time.Sleep(time.Second)
				found = "what the first found"
				return []doctor.Result{{Status: doctor.Warn}}
			}},
			{Group: "g", Topic: "fourth", Needs: []string{"first", "third"}, Ask: ask(0, doctor.Result{Status: doctor.OK})},
			{Group: "other", Topic: "first", Ask: ask(0, doctor.Result{Status: doctor.Fail})},
			{Group: "none", Topic: "first", Ask: ask(0, doctor.Result{Status: doctor.Skip})},
			{Group: "none", Topic: "second", Needs: []string{"first"}, Ask: ask(0, doctor.Result{Status: doctor.OK})},
			{Group: "none", Topic: "third", Needs: []string{"second"}, Ask: ask(0, doctor.Result{Status: doctor.OK})},
		}
		want := []doctor.Result{
			{Group: "g", Topic: "third", Name: "third", Status: doctor.Skip, Detail: "not asked: second failed"},
			{Group: "g", Topic: "second", Name: "second", Status: doctor.Fail, Detail: "what the first found is wrong"},
			{Group: "g", Topic: "first", Name: "first", Status: doctor.Warn, Seconds: 1},
			{Group: "g", Topic: "fourth", Name: "fourth", Status: doctor.Skip, Detail: "not asked: second failed"},
			{Group: "other", Topic: "first", Name: "first", Status: doctor.Fail},
			{Group: "none", Topic: "first", Name: "first", Status: doctor.Skip},
		}
		if diff := cmp.Diff(want, doctor.Run(t.Context(), checks, bounds)); diff != "" {
			t.Errorf("Run() (-want +got):\n%s", diff)
		}
	})
}

func TestAChainOfChecksEndsWithAllOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := []doctor.Check{
			{Group: "g", Topic: "first", Ask: ask(9*time.Second, doctor.Result{Status: doctor.OK})},
			{Group: "g", Topic: "second", Needs: []string{"first"}, Ask: ask(9*time.Second, doctor.Result{Status: doctor.OK})},
			{Group: "g", Topic: "third", Needs: []string{"second"}, Ask: ask(0, doctor.Result{Status: doctor.OK})},
		}
		start := time.Now()
		got := doctor.Run(t.Context(), checks, bounds)
		if took := time.Since(start); took != 15*time.Second+100*time.Millisecond {
			t.Errorf("all took %s", took)
		}
		want := []doctor.Result{
			{Group: "g", Topic: "first", Name: "first", Status: doctor.OK, Seconds: 9},
			{Group: "g", Topic: "second", Name: "second", Status: doctor.Fail, Detail: "not done within 15s, which is the time for all checks", Seconds: 6.1},
			{Group: "g", Topic: "third", Name: "third", Status: doctor.Skip, Detail: "not asked: second failed"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Run() (-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute) // the second one's
	})
}

func TestACheckThatNeedsNoneOfTheOthersIsAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("nobody noticed")
		}
	}()
	doctor.Run(t.Context(), []doctor.Check{{Group: "g", Topic: "a", Needs: []string{"b"}}}, bounds)
}

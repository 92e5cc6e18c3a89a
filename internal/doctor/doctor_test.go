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

func TestChecksRunSideBySideInBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		checks := []doctor.Check{
			{Name: "slow", Ask: func(context.Context) []doctor.Result {
				time.Sleep(9 * time.Second)
				return []doctor.Result{{Name: "slow", Status: doctor.OK}}
			}},
			{Name: "polite", Ask: func(ctx context.Context) []doctor.Result {
				<-ctx.Done()
				return []doctor.Result{{Name: "polite", Status: doctor.Fail, Detail: "asking: " + context.Cause(ctx).Error()}}
			}},
			{Name: "hangs", Ask: func(context.Context) []doctor.Result { <-release; return nil }},
			{Name: "has nothing", Ask: func(context.Context) []doctor.Result { return nil }},
			{Name: "two", Ask: func(context.Context) []doctor.Result {
				return []doctor.Result{{Name: "a", Status: doctor.Warn}, {Name: "b", Status: doctor.Skip}}
			}},
		}
		start := time.Now()
		got := doctor.Run(t.Context(), checks, 10*time.Second)
		if took := time.Since(start); took > 11*time.Second {
			t.Errorf("all took %s, want one bound", took)
		}
		want := []doctor.Result{
			{Name: "slow", Status: doctor.OK},
			{Name: "polite", Status: doctor.Fail, Detail: "asking: no answer within 10s"},
			{Name: "hangs", Status: doctor.Fail, Detail: "no answer within 10s"},
			{Name: "a", Status: doctor.Warn},
			{Name: "b", Status: doctor.Skip},
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

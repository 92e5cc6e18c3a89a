package integration_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/soak"
)

// A small soak; `make soak` runs the large one.
func TestAServerThatKeepsFailingLosesNoLineAndNoJob(t *testing.T) {
	r, err := soak.Run(t.Context(), soak.Options{
		Agents: 6, Jobs: 30, Lines: 100, Every: 10, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := r.Write(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &table)
	if len(r.Problems) > 0 || r.Results[job.Succeeded] == 0 || len(r.Faults) < 8 {
		t.Errorf("%d problems, %d jobs succeeded, %d kinds of fault, want none, most, and all kinds", len(r.Problems), r.Results[job.Succeeded], len(r.Faults))
	}
}

func TestAServerThatGoesAwayInTheMiddleOfAJobLosesNothing(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	r, err := soak.Outage(t.Context(), s.Stage, soak.OutageOptions{Lines: 100_000, Width: 300, Away: 12 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := r.Write(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &table)
	// Design §14: what a log of a gigabyte may need.
	if len(r.Problems) > 0 || r.Peak > 80 {
		t.Errorf("%d problems, %.1f MB, want none and at most 80 MB", len(r.Problems), r.Peak)
	}
}

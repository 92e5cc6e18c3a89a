package main

import (
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// run is the outcome of a job of ten build steps.
func run(result job.Result, cached int) *outcome {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &outcome{
		report: job.Report{
			Result:  result,
			Builds:  []job.BuildReport{{Steps: 10, Cached: cached}},
			Records: []job.ReportRecord{{Name: "Start MySQL", StartTime: job.Time{Time: at}, FinishTime: job.Time{Time: at.Add(2500 * time.Millisecond)}}},
		},
		status: stage.Status{QueuedAt: at, FinishedAt: at.Add(time.Minute)},
	}
}

func TestTheDemoFailsUnlessItsPromiseIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		cold, warm *outcome
		want       string // part of the error; empty is none
	}{
		"both succeeded, mostly cached": {run(job.Succeeded, 0), run(job.Succeeded, 8), ""},
		"too little cached":             {run(job.Succeeded, 0), run(job.Succeeded, 7), "7 of 10 build steps"},
		"no build at all":               {run(job.Succeeded, 0), &outcome{report: job.Report{Result: job.Succeeded}}, "0 of 0 build steps"},
		"the first failed":              {run(job.Failed, 0), run(job.Succeeded, 10), "the first job ended with failed"},
		"the second was canceled":       {run(job.Succeeded, 0), run(job.Canceled, 10), "the second job ended with canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			err := judge(c.cold, c.warm)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("judge() = %v, want %q", err, c.want)
			}
		})
	}
}

func TestTheTableComparesBothRuns(t *testing.T) {
	var out strings.Builder
	printTable(&out, run(job.Succeeded, 0), run(job.Succeeded, 9))
	for _, row := range []string{"cold", "0 of 10", "9 of 10", "60.0 s", "2.5 s"} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("the table lacks %q:\n%s", row, out.String())
		}
	}
}

package statuspage

import (
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// StepOf returns how a record of a timeline is shown.
func StepOf(r job.Record, hasLog bool) Step {
	s := Step{
		ID: string(r.ID), Name: r.Name, State: string(r.State), Result: string(r.Result),
		Percent: r.PercentComplete, Started: timeOf(r.StartTime), Finished: timeOf(r.FinishTime),
		Errors: r.ErrorCount, Warnings: r.WarningCount, HasLog: hasLog,
	}
	if r.State != job.Completed {
		s.Operation = r.CurrentOperation
	}
	for _, i := range r.Issues {
		s.Issues = append(s.Issues, Issue{Kind: string(i.Type), Message: i.Message})
	}
	return s
}

func timeOf(t *job.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// BuildOf returns how the report of an image build is shown.
func BuildOf(b job.BuildReport) Build {
	out := Build{
		Step: b.Step, Digest: b.Digest, Platforms: b.Platforms, Steps: b.Steps, Cached: b.Cached, Took: seconds64(b.Seconds), Reasons: b.Reasons,
	}
	for _, r := range b.Waterfall {
		out.Rows = append(out.Rows, BuildRow{Name: r.Name, Cached: r.Cached, Start: seconds64(r.Start), Took: seconds64(r.Seconds), Reason: r.Reason})
	}
	return out
}

func seconds64(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// outcome is one finished job.
type outcome struct {
	report job.Report
	status stage.Status
}

// runJob queues the pipeline, prints its log as it comes, and returns its report.
func runJob(ctx context.Context, s *stage.Stage, repo string, pipeline []byte) (*outcome, error) {
	jobs, err := s.QueuePipeline(ctx, pipeline, repo, map[string]string{"registry": s.Registry.Addr()})
	if err != nil {
		return nil, err
	}
	if err := s.Follow(ctx, jobs[0].ID, func(line string) { fmt.Println("  " + line) }); err != nil {
		return nil, err
	}
	status, report, err := s.Wait(ctx, jobs[0].ID)
	return &outcome{report: report, status: status}, err
}

// buildSteps adds up the job's image builds.
func (o *outcome) buildSteps() (steps, cached int) {
	for _, b := range o.report.Builds {
		steps += b.Steps
		cached += b.Cached
	}
	return steps, cached
}

// took returns how long the record with this name ran.
func (o *outcome) took(name string) string {
	for _, r := range o.report.Records {
		if r.Name == name && !r.FinishTime.IsZero() {
			return seconds(r.FinishTime.Sub(r.StartTime.Time))
		}
	}
	return "-"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func printTable(w io.Writer, cold, warm *outcome) {
	t := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	row := func(name string, value func(*outcome) string) {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", name, value(cold), value(warm)) // Flush tells
	}
	row("", func(o *outcome) string {
		if o == cold {
			return "cold"
		}
		return "warm"
	})
	row("result", func(o *outcome) string { return string(o.report.Result) })
	row("whole job", func(o *outcome) string { return seconds(o.status.FinishedAt.Sub(o.status.QueuedAt)) })
	row("image build", func(o *outcome) string { return o.took("Build the image") })
	row("cached steps", func(o *outcome) string {
		steps, cached := o.buildSteps()
		return fmt.Sprintf("%d of %d", cached, steps)
	})
	row("MySQL, pull to healthy", func(o *outcome) string { return o.took("Start MySQL") })
	row("integration test", func(o *outcome) string { return o.took("Integration test") })
	_ = t.Flush() // standard output
}

package soak

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/test/stage"
)

// OutageOptions say how a server goes away in the middle of a job.
type OutageOptions struct {
	Lines int           // of the job's one step
	Width int           // bytes of each line
	Away  time.Duration // how long every request fails
}

// OutageReport is what [Outage] found.
type OutageReport struct {
	OutageOptions

	Result   job.Result
	Stored   int           // lines of the step's log, in order, each once
	InJob    int           // the same in the job's own log
	Peak     float64       // largest resident memory of the agent, MB
	Took     time.Duration // the whole job
	Held     time.Duration // how long the step had to wait for the log while the server was away
	Problems []string
}

// Outage runs one job of a real agent process whose step prints a third of its
// lines, a third while the server answers nobody, and a third afterwards.
func Outage(ctx context.Context, s *stage.Stage, o OutageOptions) (OutageReport, error) {
	r := OutageReport{OutageOptions: o}
	a, err := s.StartAgent(ctx, stage.AgentOptions{
		Name: "outage", Env: []string{"BUILDKIT_HOST", "CONTAINER_HOST", "DOCKLESS_PODMAN=no-podman-here", "PATH=/usr/bin:/bin"},
	})
	if err != nil {
		return r, err
	}
	began := time.Now()
	marks := func(name string) string { return filepath.Join(s.Dir, "outage-"+name) }
	jobs, err := s.QueuePipeline(ctx, []byte(outagePipeline(o, marks)), "", nil)
	if err != nil {
		return r, err
	}
	if err := awaitFile(ctx, marks("first")); err != nil {
		return r, err
	}
	if err := s.Fail(ctx, `{"kind":"drop"}`); err != nil {
		return r, err
	}
	away := time.Now()
	if err := os.WriteFile(marks("away"), nil, 0o600); err != nil {
		return r, err
	}
	if err := awaitFile(ctx, marks("second")); err != nil {
		return r, err
	}
	r.Held = time.Since(away).Round(10 * time.Millisecond)
	if err := retry.Wait(ctx, time.Until(away.Add(o.Away))); err != nil {
		return r, err
	}
	if err := s.Heal(ctx); err != nil {
		return r, err
	}
	if err := os.WriteFile(marks("back"), nil, 0o600); err != nil {
		return r, err
	}
	if _, _, err := s.Wait(ctx, jobs[0].ID); err != nil {
		return r, fmt.Errorf("%w; the agent's log ends with:\n%s", err, a.Tail())
	}
	r.Took = time.Since(began).Round(10 * time.Millisecond)
	peak, err := a.StatusKiB("VmHWM")
	if err != nil {
		return r, err
	}
	r.Peak = peak * 1024 / 1e6
	report, err := s.Report(ctx, jobs[0].ID)
	if err != nil {
		return r, err
	}
	r.judge(report, jobs[0].ID)
	return r, a.Stop(ctx)
}

// outagePipeline prints the thirds and leaves a file after each of the first two.
func outagePipeline(o OutageOptions, marks func(string) string) string {
	third := o.Lines / 3
	return fmt.Sprintf(`
steps:
- checkout: none
- bash: |
    await() { until [ -e "$1" ]; do sleep 0.05; done; }
    seq -f 'line %%.0f' 1 %[1]d | %[6]s
    touch %[3]s.part && mv %[3]s.part %[3]s
    await %[4]s
    seq -f 'line %%.0f' %[7]d %[2]d | %[6]s
    touch %[5]s
    await %[8]s
    seq -f 'line %%.0f' %[9]d %[10]d | %[6]s
  name: printing
  displayName: Print much`,
		third, 2*third, marks("first"), marks("away"), marks("second"), padded(o.Width), third+1, marks("back"), 2*third+1, o.Lines) + "\n"
}

// padded is a command that widens the lines it reads to width bytes.
func padded(width int) string { return fmt.Sprintf(`awk '{ printf "%%-%ds|\n", $0 }'`, width-1) }

// judge compares the stored logs with what was printed.
func (r *OutageReport) judge(report job.Report, id job.ID) {
	r.Result = report.Result
	for _, record := range report.Records {
		n, problem := inOrder(record.Log)
		switch {
		case record.RefName == "printing":
			r.Stored = n
		case record.ID == id.Record():
			r.InJob = n
		default:
			continue
		}
		if problem != "" || n != r.Lines {
			r.Problems = append(r.Problems, fmt.Sprintf("the log of %q has %d of %d lines %s", record.Name, n, r.Lines, problem))
		}
	}
	if r.Result != job.Succeeded {
		r.Problems = append(r.Problems, fmt.Sprintf("the job ended as %s", r.Result))
	}
}

// inOrder counts the lines 1, 2, 3, … and says where the row is broken.
func inOrder(log []string) (n int, problem string) {
	for _, line := range log {
		text, ours := strings.CutPrefix(line, "line ")
		if !ours {
			continue
		}
		number, _, _ := strings.Cut(text, " ")
		if i, err := strconv.Atoi(strings.TrimRight(number, "|")); err != nil || i != n+1 {
			return n, fmt.Sprintf("(after %d comes %q)", n, number)
		}
		n++
	}
	return n, ""
}

// awaitFile waits until a file is there. A step that cannot print on never makes
// it, and the caller's bound ends the wait.
func awaitFile(ctx context.Context, path string) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		if err := retry.Wait(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for the step to make %s: %w", filepath.Base(path), err)
		}
	}
}

// Write prints the report as a table.
func (r OutageReport) Write(w io.Writer) error {
	_, err := fmt.Fprintf(w, `server away for        %s
lines                  %d of %d bytes
result                 %s
stored, step's log     %d
stored, job's log      %d
step held up           %s while the server was away
peak memory            %.1f MB
took                   %s
problems               %d %s
`, r.Away, r.Lines, r.Width, r.Result, r.Stored, r.InJob, r.Held, r.Peak, r.Took, len(r.Problems), strings.Join(r.Problems, "; "))
	return err
}

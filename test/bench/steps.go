package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// stepsRow runs jobs of 200 steps, and 200 shells by hand in between.
func stepsRow(ctx context.Context, b *bench) (r result, err error) {
	const steps = 200
	pipeline := "steps:\n- checkout: none\n" + strings.Repeat("- bash: \"true\"\n", steps)
	err = withAgent(ctx, b, "steps", func(*stage.Program) error {
		o, p, err := alternate(b.times(10), func() (time.Duration, error) {
			jobs, err := b.stage.QueuePipeline(ctx, []byte(pipeline), "", nil)
			if err != nil {
				return 0, err
			}
			_, report, err := b.stage.Wait(ctx, jobs[0].ID)
			if err != nil {
				return 0, err
			}
			return stepsTook(report, steps)
		}, func() (time.Duration, error) {
			return timed(func() error {
				for range steps {
					if err := exec.CommandContext(ctx, "bash", "-c", "true").Run(); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		ours, peer := median(o)/steps, median(p)/steps
		r = result{ours: show(ours), peer: show(peer), ratio: "+" + show(ours-peer), met: ours-peer <= 10*time.Millisecond}
		return nil
	})
	return r, err
}

// stepsTook returns the time from the first Bash step's start to the last one's end.
func stepsTook(report job.Report, want int) (time.Duration, error) {
	var first, last time.Time
	n := 0
	for _, rec := range report.Records {
		if !strings.HasPrefix(rec.RefName, "Bash") || rec.Result != job.Succeeded {
			continue
		}
		n++
		if first.IsZero() || rec.StartTime.Before(first) {
			first = rec.StartTime.Time
		}
		if rec.FinishTime.After(last) {
			last = rec.FinishTime.Time
		}
	}
	if n != want {
		return 0, fmt.Errorf("%d steps succeeded, want %d; the job ended as %s", n, want, report.Result)
	}
	return last.Sub(first), nil
}

// secretsInLog is how many secret variables the job of logRow has.
const secretsInLog = 100

// logRow prints a file of about a gigabyte in which every hundredth line holds
// a secret, and looks for each line and each secret in the stored log.
func logRow(ctx context.Context, b *bench) (r result, err error) {
	lines := 10_000_000
	if b.quick {
		lines = 200_000
	}
	m := logJob()
	path := filepath.Join(b.stage.Dir, "big.log")
	size, err := writeBigLog(path, lines, m)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	m.Steps[0].Inputs["script"] = "cat " + path

	err = withAgent(ctx, b, "log", func(a *stage.Program) error {
		queued, err := b.stage.QueueMessage(ctx, m)
		if err != nil {
			return err
		}
		status, err := b.stage.WaitFor(ctx, queued.ID, "completed", stage.Status.Completed)
		if err != nil {
			return err
		}
		if status.Result != job.Succeeded {
			return fmt.Errorf("the job ended as %s", status.Result)
		}
		peak, err := a.StatusKiB("VmHWM")
		if err != nil {
			return err
		}
		stored, leaked, err := b.searchLogs(m)
		if err != nil {
			return err
		}
		rate := float64(size) / 1e6 / status.FinishedAt.Sub(status.StartedAt).Seconds()
		// The step's page and the job's page hold each line once.
		complete := stored == 2*lines
		r = result{
			ours: fmt.Sprintf("%.0f MB/s, peak %.0f MB RSS, %d of %d lines stored, %d secrets leaked", rate, peak*1024/1e6, stored/2, lines, leaked),
			peer: "–", ratio: "–", met: rate >= 150 && peak*1024 <= 80e6 && complete && leaked == 0,
		}
		return nil
	})
	return r, err
}

// logJob is a job of one script step with many secret variables.
func logJob() *job.Message {
	plan := uuid.NewString()
	m := &job.Message{
		MessageType: job.MessageTypeRequest,
		Plan:        job.Plan{ScopeIdentifier: uuid.NewString(), PlanType: "Build", Version: 9, PlanID: job.PlanID(plan)},
		Timeline:    job.TimelineReference{ID: job.TimelineID(plan)},
		JobID:       job.ID(uuid.NewString()), JobName: "log", JobDisplayName: "log",
		Variables: map[string]job.Variable{},
		Steps: []job.Step{{
			Type: "task", ID: job.NewRecordID(), Name: "cat", DisplayName: "Print a gigabyte",
			Reference: job.TaskReference{ID: "6c731c3c-3c68-459a-a5c9-bde6e6595b5b", Name: "Bash", Version: "3.278.0"},
			Inputs:    map[string]string{"targetType": "inline"},
		}},
	}
	for i := range secretsInLog {
		m.Variables[fmt.Sprintf("secret%d", i)] = job.Variable{Value: secretValue(i), IsSecret: true}
	}
	return m
}

func secretValue(i int) string {
	return fmt.Sprintf("s3cr3t/%03d+%s", i, uuid.NewSHA1(uuid.Nil, []byte(strconv.Itoa(i))))
}

// lineMark begins every line of the big log.
const lineMark = "bench-line "

func writeBigLog(path string, lines int, m *job.Message) (size int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	secrets := make([]string, secretsInLog)
	for i := range secrets {
		secrets[i] = m.Variables[fmt.Sprintf("secret%d", i)].Value
	}
	for i := range lines {
		secret := ""
		if i%100 == 0 {
			secret = secrets[(i/100)%secretsInLog]
		}
		n, err := fmt.Fprintf(w, "%s%09d compiling package %s with the usual flags and some more text to fill a line of a log\n", lineMark, i, secret)
		if err != nil {
			return 0, err
		}
		size += int64(n)
	}
	return size, w.Flush()
}

// searchLogs counts, in the files the emulator keeps, the lines of the big log
// and those that hold a secret.
func (b *bench) searchLogs(m *job.Message) (stored, leaked int, err error) {
	err = filepath.WalkDir(filepath.Join(b.stage.Dir, "emulator"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "feed") {
			return err
		}
		f, err := os.Open(path) //nolint:gosec // nobody else writes into the stage's directory
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // read only
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<21)
		for lines.Scan() {
			if strings.Contains(lines.Text(), lineMark) {
				stored++
			}
			if strings.Contains(lines.Text(), "s3cr3t/") {
				leaked++
			}
		}
		return lines.Err()
	})
	return stored, leaked, err
}

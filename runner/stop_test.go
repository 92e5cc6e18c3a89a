package runner_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// stopAt runs m and stops it with stop when a step prints "ready".
func stopAt(t *testing.T, cfg runner.Config, m *job.Message, stop error) (*recorder, runner.Outcome, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	rec := newRecorder()
	var at time.Time
	rec.onLine = func(_ job.Record, line string) {
		if line == "ready" && at.IsZero() {
			at = time.Now()
			cancel(stop)
		}
	}
	r, err := runner.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(ctx, m, rec)
	if err != nil {
		t.Fatal(err)
	}
	return rec, out, time.Since(at)
}

// results returns the results of the named records.
func results(t *testing.T, rec *recorder, names ...string) map[string]job.Result {
	t.Helper()
	got := make(map[string]job.Result)
	for _, name := range names {
		got[name] = rec.record(t, name).Result
	}
	return got
}

// Protocol §8.14: a canceled job runs the steps that want to; one whose agent
// stops, or that is no longer ours, runs nothing more.
func TestAJobThatIsStopped(t *testing.T) {
	steps := func() *job.Message {
		return message(
			script("long", "echo ready\nsleep 60"),
			script("next", "true"),
			script("always", "echo $AGENT_JOBSTATUS", condition("always()")),
			script("canceled", "true", condition("canceled()")),
			script("failed", "true", condition("failed()")),
		)
	}
	for name, c := range map[string]struct {
		stop error
		want map[string]job.Result
	}{
		"canceled": {
			&job.Stop{Reason: job.StopCanceled, Message: "Canceled by a person.", Grace: time.Minute},
			map[string]job.Result{"long": job.Canceled, "next": job.Skipped, "always": job.Succeeded, "canceled": job.Succeeded, "failed": job.Skipped},
		},
		"shutdown": {
			&job.Stop{Reason: job.StopShutdown, Message: "The agent was told to stop."},
			map[string]job.Result{"long": job.Canceled, "next": job.Skipped, "always": job.Skipped, "canceled": job.Skipped, "failed": job.Skipped},
		},
		"lock lost": {
			&job.Stop{Reason: job.StopLockLost, Message: "The job belongs to somebody else."},
			map[string]job.Result{"long": job.Canceled, "next": job.Skipped, "always": job.Skipped, "canceled": job.Skipped, "failed": job.Skipped},
		},
		"no reason": {
			errors.New("power failure"),
			map[string]job.Result{"long": job.Canceled, "next": job.Skipped, "always": job.Skipped, "canceled": job.Skipped, "failed": job.Skipped},
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec, out, took := stopAt(t, config(t), steps(), c.stop)
			if diff := cmp.Diff(c.want, results(t, rec, "long", "next", "always", "canceled", "failed")); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if out.Result != job.Canceled || took > 30*time.Second {
				t.Errorf("job %s after %s, want canceled soon", out.Result, took)
			}
			issues := rec.record(t, "The job").Issues
			if len(issues) != 1 || issues[0].Message != c.stop.Error() {
				t.Errorf("issues of the job = %+v, want who ended it", issues)
			}
		})
	}
}

func TestA30AStepWhoseConditionStillHoldsGoesOnWhenTheJobIsCanceled(t *testing.T) {
	m := message(script("s", "echo ready; sleep 0.5; echo survived", condition("always()")))
	rec, out, _ := stopAt(t, config(t), m, &job.Stop{Reason: job.StopCanceled, Message: "x", Grace: time.Minute})
	if out.Result != job.Canceled || rec.record(t, "s").Result != job.Succeeded || !slices.Contains(rec.output(t, "s"), "survived") {
		t.Errorf("job %s, step %s, output %q", out.Result, rec.record(t, "s").Result, rec.output(t, "s"))
	}
}

func TestTheGraceOfACanceledJobEndsEverything(t *testing.T) {
	m := message(script("s", "echo ready; sleep 60", condition("always()")), script("next", "true", condition("always()")))
	rec, out, took := stopAt(t, config(t), m, &job.Stop{Reason: job.StopCanceled, Message: "x", Grace: 2 * time.Second})
	if out.Result != job.Canceled || took > 30*time.Second || took < 500*time.Millisecond {
		t.Errorf("job %s after %s, want canceled within its grace of two seconds", out.Result, took)
	}
	if diff := cmp.Diff(map[string]job.Result{"s": job.Canceled, "next": job.Skipped}, results(t, rec, "s", "next")); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
}

func TestA31AProcessThatIgnoresSignalsIsKilled(t *testing.T) {
	cfg := config(t)
	cfg.Interrupt, cfg.Terminate = 200*time.Millisecond, 100*time.Millisecond
	m := message(script("s", `trap '' INT TERM; echo ready; while :; do sleep 0.01; done`))
	rec, _, took := stopAt(t, cfg, m, &job.Stop{Reason: job.StopCanceled, Message: "x"})
	if got := rec.record(t, "s").Result; got != job.Canceled || took < 300*time.Millisecond || took > 30*time.Second {
		t.Errorf("step %s after %s, want canceled after the whole ladder", got, took)
	}
}

func TestWhatAJobLeavesRunningIsEnded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	began := time.Now()
	rec, out := run(t, config(t), message(
		script("s", "setsid bash -c 'exec >/dev/null 2>&1; echo $$ > "+file+"; exec sleep 60' & while ! test -s "+file+"; do sleep 0.01; done"),
		script("next", "kill -0 $(cat "+file+")")))
	if out.Result != job.Succeeded || time.Since(began) > 30*time.Second {
		t.Errorf("job %s after %s, want succeeded: a background process outlives its step", out.Result, time.Since(began))
	}
	pid, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("process %s outlived the job", pid)
	}
	if log := rec.log(t, "Finalize Job"); !slices.ContainsFunc(log, func(l string) bool { return strings.Contains(l, "Ended process") }) {
		t.Errorf("log of Finalize Job = %q, want the ended process", log)
	}
}

func TestAStoppedJobWithoutATimeToBeginRunsNothing(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&job.Stop{Reason: job.StopCanceled, Message: "too late"})
	r, err := runner.New(config(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecorder()
	out, err := r.Run(ctx, message(script("s", "true", condition("always()"))), rec)
	if err != nil || out.Result != job.Canceled || len(rec.order) != 3 {
		t.Errorf("Run = %+v, %v with %d records, want canceled in Initialize job", out, err, len(rec.order))
	}
}

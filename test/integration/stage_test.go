package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// jobTimeout bounds one job of a test: the longest builds the example without
// any cache, in a minute on two cores and in six on two that others use as well.
const jobTimeout = 10 * time.Minute

// openStage starts a stage that ends with the test.
func openStage(t *testing.T, o stage.Options) testStage {
	t.Helper()
	s, err := stage.Start(t.Context(), o)
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stopping the stage: %v", err)
		}
	})
	// When the test fails, the logs survive what Stop deletes.
	if s.Buildkitd != nil {
		rig.KeepLog(t, "buildkitd", s.Buildkitd.Log())
	}
	if s.Podman != nil {
		rig.KeepLog(t, "podman", s.Podman.Log())
	}
	if err != nil {
		t.Fatal(err)
	}
	rig.KeepLog(t, "emulator", filepath.Join(s.Dir, "emulator.log"))
	return testStage{s}
}

func startAgent(t *testing.T, s testStage, o stage.AgentOptions) *stage.Program {
	t.Helper()
	a, err := s.StartAgent(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	rig.KeepLog(t, "agent", a.Log)
	return a
}

// queue queues a pipeline of one job.
func queue(t *testing.T, s testStage, yaml, repo string, params map[string]string) stage.Job {
	t.Helper()
	jobs, err := s.QueuePipeline(t.Context(), []byte(yaml), repo, params)
	if err != nil {
		t.Fatal(err)
	}
	return jobs[0]
}

// await waits until a job is in the state that want describes.
func await(t *testing.T, s testStage, j stage.Job, what string, want func(stage.Status) bool) stage.Status {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), jobTimeout, errTooLong)
	defer cancel()
	st, err := s.WaitFor(ctx, j.ID, what, want)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// finish waits for the end of a job and returns its report.
func finish(t *testing.T, s testStage, j stage.Job) job.Report {
	t.Helper()
	await(t, s, j, "completed", stage.Status.Completed)
	r, err := s.Report(t.Context(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type constError string

func (e constError) Error() string { return string(e) }

const errTooLong constError = "the test waited long enough"

// exitCode waits for a program to end.
func exitCode(t *testing.T, p *stage.Program, within time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), within, errTooLong)
	defer cancel()
	code, err := p.Wait(ctx)
	if err != nil {
		t.Fatalf("%v; its log ends with:\n%s", err, p.Tail())
	}
	return code
}

// eventually asks until want holds.
func eventually(t *testing.T, what string, within time.Duration, want func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), within, errTooLong)
	defer cancel()
	for !want() {
		if err := retry.Wait(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("waiting until %s: %v", what, err)
		}
	}
}

// record finds a record by name.
func record(t *testing.T, r job.Report, name string) job.ReportRecord {
	t.Helper()
	i := slices.IndexFunc(r.Records, func(rec job.ReportRecord) bool { return rec.Name == name })
	if i < 0 {
		var names []string
		for _, rec := range r.Records {
			names = append(names, rec.Name)
		}
		t.Fatalf("there is no record %q among %q", name, names)
	}
	return r.Records[i]
}

// jobRecord finds the record of the job itself.
func jobRecord(t *testing.T, r job.Report) job.ReportRecord {
	t.Helper()
	i := slices.IndexFunc(r.Records, func(rec job.ReportRecord) bool { return rec.Type == job.TypeJob })
	if i < 0 {
		t.Fatal("the report has no record of the job")
	}
	return r.Records[i]
}

// dumpLog shows where a job that a test does not like went wrong, and says where
// the whole report lies.
func dumpLog(t *testing.T, r job.Report) {
	t.Helper()
	const most = 40 // lines of one step: what fits on a screen
	for _, rec := range r.Records {
		if rec.Type == job.TypeTask && !rec.Result.OK() {
			t.Logf("--- %s: %s; its log ends with:\n%s", rec.Name, rec.Result, strings.Join(rec.Log[max(0, len(rec.Log)-most):], "\n"))
		}
	}
	file, err := rig.CreateLog("report-*.json")
	if err != nil {
		t.Logf("keeping the report: %v", err)
		return
	}
	encoder := json.NewEncoder(file)
	encoder.SetIndent("", "  ")
	if err := errors.Join(encoder.Encode(r), file.Close()); err != nil {
		t.Logf("keeping the report: %v", err)
		return
	}
	t.Logf("whole report: %s", file.Name())
}

// listed returns the words of a list of Podman's, which asks for names first and then
// for each of them: what is removed in between fails the list.
func listed(t *testing.T, s testStage, args ...string) []string {
	t.Helper()
	for try := 1; ; try++ {
		out, err := s.Podman.Command(t.Context(), args...).Output()
		if err == nil {
			return strings.Fields(string(out))
		}
		failed, ok := errors.AsType[*exec.ExitError](err)
		if try == 10 || !ok || !strings.Contains(string(failed.Stderr), "no such ") {
			t.Fatalf("podman %s: %v", strings.Join(args, " "), err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// owned lists what carries an agent's label.
func owned(t *testing.T, s testStage, agent string) []string {
	t.Helper()
	var found []string
	for kind, args := range map[string][]string{
		"container": {"ps", "--all", "--quiet"}, "network": {"network", "ls", "--quiet"}, "volume": {"volume", "ls", "--quiet"},
	} {
		for _, name := range listed(t, s, append(args, "--filter", "label=io.dockless.agent="+agent)...) {
			found = append(found, kind+" "+name)
		}
	}
	return found
}

// writeFile writes a file of the test and returns its path.
func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/internal/recent"
	"github.com/dockless-ci/dockless/runner"
)

// taskStage is an emulator and one agent, both whole, in this process.
type taskStage struct {
	*emulatortest.Server
	t     *testing.T
	work  string
	jobs  *jobRunner
	ended chan job.Result // of each job; the first few
}

// startTaskStage starts both; the agent runs jobs as `dockless agent` does.
func startTaskStage(t *testing.T, change ...func(*agentSettings)) *taskStage {
	t.Helper()
	return startTaskStageWith(t, func(run agent.JobFunc) agent.JobFunc { return run }, change...)
}

// startTaskStageWith is startTaskStage with something around the function that runs
// the jobs.
func startTaskStageWith(t *testing.T, around func(agent.JobFunc) agent.JobFunc, change ...func(*agentSettings)) *taskStage {
	t.Helper()
	srv := emulatortest.New(t)
	work := filepath.Join(t.TempDir(), "work")
	s := &agentSettings{settings.All{
		Agent:  agent.Config{URL: srv.URL, Token: srv.PAT, Pool: srv.Pool, Name: "tasks", Auth: "pat", StateDir: t.TempDir()},
		Runner: runner.Config{Work: work, NativeTasks: "on", Node: "node"},
	}}
	for _, c := range change {
		c(s)
	}
	log := slog.New(slog.DiscardHandler)
	stage := &taskStage{Server: srv, t: t, work: work, ended: make(chan job.Result, 8)}
	stage.jobs = &jobRunner{settings: s, shop: &workshop{metrics: metrics.New("1")}, log: log, recent: recent.New()}
	a, err := agent.New(s.Agent, around(stage.jobs.run), agent.Deps{Log: log, Product: "dockless/test", JobEnded: func(id job.ID, r job.Result) {
		stage.jobs.ended(id, r)
		select {
		case stage.ended <- r:
		default: // nobody waits for that many
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop(errors.New("the test is over"))
		if err := <-ended; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	return stage
}

// run runs a job to its end.
func (s *taskStage) run(m *job.Message) (job.ID, job.Report) {
	s.t.Helper()
	id := s.Queue(m)
	ctx, cancel := context.WithTimeoutCause(s.t.Context(), time.Minute, errors.New("not within a minute"))
	defer cancel()
	if _, err := s.Await(ctx, id, emulator.Completed); err != nil {
		s.t.Fatal(err)
	}
	report, err := s.Report(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return id, report
}

// wantResult fails the test, with all logs, when a job ended otherwise.
func (s *taskStage) wantResult(r job.Report, want job.Result) {
	s.t.Helper()
	if r.Result == want {
		return
	}
	for _, rec := range r.Records {
		s.t.Logf("%s: %s\n%s", rec.Name, rec.Result, strings.Join(rec.Log, "\n"))
	}
	s.t.Fatalf("the job is %s, want %s", r.Result, want)
}

// downloads counts how often a job asked for a package.
func (s *taskStage) downloads(id job.ID) int {
	n := 0
	for _, c := range s.Calls(id) {
		if c.Resource == "tasks" {
			n++
		}
	}
	return n
}

// recordNamed finds a record of a report.
func recordNamed(t *testing.T, r job.Report, name string) job.ReportRecord {
	t.Helper()
	i := slices.IndexFunc(r.Records, func(rec job.ReportRecord) bool { return rec.Name == name })
	if i < 0 {
		t.Fatalf("there is no record %q", name)
	}
	return r.Records[i]
}

// recordNames lists the records of a job in order, without the job's own.
func recordNames(r job.Report) []string {
	records := slices.SortedFunc(slices.Values(r.Records), func(a, b job.ReportRecord) int { return a.Order - b.Order })
	var names []string
	for _, rec := range records {
		if rec.Type != job.TypeJob {
			names = append(names, rec.Name)
		}
	}
	return names
}

// ownTask is the task that most tests bring along.
var ownTask = job.TaskReference{ID: "77777777-7777-4777-8777-777777777777", Name: "Own", Version: "1.2.3"}

// ownDefinition is its task.json with further members.
func ownDefinition(members string) string {
	return `{"id": "77777777-7777-4777-8777-777777777777", "name": "Own", "friendlyName": "A task of our own", "description": "For tests.",
		"author": "the tests", "helpUrl": "https://example.com/", "version": {"Major": 1, "Minor": 2, "Patch": 3}, ` + members + `}`
}

// mainOnly is a definition with one handler, main.js.
func mainOnly(more string) string {
	return ownDefinition(more + `"execution": {"Node16": {"target": "main.js"}}`)
}

// zipped packs files, whatever their names.
func zipped(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// offer makes the server hand out a package of ownTask.
func (s *taskStage) offer(files map[string]string) {
	s.t.Helper()
	s.OfferTask(ownTask.ID, ownTask.Version, zipped(s.t, files))
}

// ownStep is a step that runs ownTask.
func ownStep(name string, change ...func(*job.Step)) job.Step {
	s := job.Step{Name: name, DisplayName: name, Reference: ownTask}
	for _, c := range change {
		c(&s)
	}
	return s
}

// listFiles returns the files below dir, without locks.
func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".lock" {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, rel)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

package runner_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Reporter that keeps everything it is told.
type recorder struct {
	onLine func(record job.Record, line string) // called without the lock

	mu          sync.Mutex
	records     map[job.RecordID]job.Record
	order       []job.RecordID // as first heard of
	lines       map[job.RecordID][]string
	attachments []job.Attachment
	updates     []job.Record
}

func newRecorder() *recorder {
	return &recorder{records: make(map[job.RecordID]job.Record), lines: make(map[job.RecordID][]string)}
}

func (r *recorder) UpdateRecord(rec job.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.records[rec.ID]; !ok {
		r.order = append(r.order, rec.ID)
		r.records[rec.ID] = rec
	}
	r.records[rec.ID] = r.records[rec.ID].Merge(rec)
	r.updates = append(r.updates, rec)
}

func (r *recorder) WriteLine(id job.RecordID, line []byte) {
	r.mu.Lock()
	r.lines[id] = append(r.lines[id], string(line))
	rec, f := r.records[id], r.onLine
	r.mu.Unlock()
	if f != nil {
		f(rec, string(line))
	}
}

func (r *recorder) Attach(_ context.Context, _ job.RecordID, a job.Attachment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attachments = append(r.attachments, a)
}

func (*recorder) Waits() bool { return false }

// record finds a record by its name.
func (r *recorder) record(t *testing.T, name string) job.Record {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		if rec.Name == name {
			return rec
		}
	}
	t.Fatalf("there is no record %q", name)
	return job.Record{}
}

// log returns the lines of the record name.
func (r *recorder) log(t *testing.T, name string) []string {
	t.Helper()
	id := r.record(t, name).ID
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines[id])
}

// output returns what the script of a step printed: its log between the ruler
// and what it used.
func (r *recorder) output(t *testing.T, name string) []string {
	t.Helper()
	lines := r.log(t, name)
	start := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "Starting Command Output") })
	if start < 0 || len(lines) < start+3 {
		return nil
	}
	return slices.DeleteFunc(lines[start+2:len(lines)-1], isFooter)
}

// isFooter reports whether a line says what the processes of a step used.
func isFooter(line string) bool { return strings.HasPrefix(line, "Peak memory ") }

// everything returns all that left the runner, as text.
func (r *recorder) everything() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all strings.Builder
	for _, rec := range r.updates {
		for name, v := range rec.Variables {
			if v.IsSecret {
				v.Value = "" // the server has to know it
			}
			rec.Variables = maps.Clone(rec.Variables)
			rec.Variables[name] = v
		}
		fmt.Fprintf(&all, "%+v\n", rec)
	}
	for id, lines := range r.lines {
		fmt.Fprintf(&all, "%s\n%s\n", id, strings.Join(lines, "\n"))
	}
	for _, a := range r.attachments {
		fmt.Fprintf(&all, "%s %s %s\n", a.Type, a.Name, a.Content)
	}
	return all.String()
}

// Tasks as messages name them.
var (
	cmdLine  = job.TaskReference{ID: "d9bafed4-0b18-4f58-968d-86655b4d2ce9", Name: "CmdLine", Version: "2.279.1"}
	bash     = job.TaskReference{ID: "6c731c3c-3c68-459a-a5c9-bde6e6595b5b", Name: "Bash", Version: "3.278.0"}
	checkout = job.TaskReference{ID: "6d15af64-176c-496d-b583-fd2ae21d4df4", Name: "Checkout", Version: "1.0.0"}
	docker   = job.TaskReference{ID: "e28912f1-0114-4464-802a-a3a35437fd16", Name: "Docker", Version: "2.279.0"}
)

// script makes a CmdLine step.
func script(name, text string, change ...func(*job.Step)) job.Step {
	s := job.Step{ID: job.NewRecordID(), Name: name, DisplayName: name, Reference: cmdLine, Inputs: map[string]string{"script": text}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func condition(text string) func(*job.Step) { return func(s *job.Step) { s.Condition = text } }

// message makes a job.
func message(steps ...job.Step) *job.Message {
	id := uuid.NewString()
	return &job.Message{
		MessageType: job.MessageTypeRequest, JobID: job.ID(id), JobName: "__default", JobDisplayName: "The job",
		Plan: job.Plan{PlanID: job.PlanID(id), Version: 9}, Timeline: job.TimelineReference{ID: job.TimelineID(id)},
		Variables: map[string]job.Variable{"agent.readOnlyVariables": {Value: "true", IsReadOnly: true}}, Steps: steps,
	}
}

// config returns settings for tests.
func config(t testing.TB) runner.Config {
	t.Helper()
	return runner.Config{
		Work: filepath.Join(t.TempDir(), "_work"), NativeTasks: "on", AgentName: "agent-" + t.Name(), AgentVersion: "4.300.0",
		MachineName: "machine", Environment: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C"},
	}
}

// run runs m to its end.
func run(t *testing.T, cfg runner.Config, m *job.Message) (*recorder, runner.Outcome) {
	t.Helper()
	rec := newRecorder()
	return rec, runWith(t, cfg, m, rec)
}

func runWith(t *testing.T, cfg runner.Config, m *job.Message, rec *recorder) runner.Outcome {
	t.Helper()
	r, err := runner.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(t.Context(), m, rec)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

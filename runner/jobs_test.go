package runner_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// jobCase is one job and what is to become of it, as the files of testdata/jobs
// write it down.
type jobCase struct {
	Case      string            `yaml:"case"`
	Variables map[string]string `yaml:"variables"`
	Secrets   map[string]string `yaml:"secrets"`
	ReadOnly  map[string]string `yaml:"readOnly"`
	Masks     []string          `yaml:"masks"` // regular expressions
	Steps     []jobStep         `yaml:"steps"`
	// Stop says how the job is stopped when a step prints "ready": canceled,
	// shutdown or lockLost.
	Stop string `yaml:"stop"`

	Want struct {
		Result job.Result `yaml:"result"`
		// Records are those below the job's, in their order: "name: result", and
		// below each its issues.
		Records []string          `yaml:"records"`
		Job     []string          `yaml:"job"` // issues of the job's own record
		Outputs map[string]string `yaml:"outputs"`
		// Secret names the outputs that the records carry as secrets: step.variable.
		Secret []string `yaml:"secret"`
		// Printed has lines that the named records show, in their order.
		Printed map[string][]string `yaml:"printed"`
		// Nowhere are texts that nothing that leaves the runner holds.
		Nowhere []string `yaml:"nowhere"`
	} `yaml:"want"`
}

// jobStep is a step: a script for bash, or a use of the task with three parts.
type jobStep struct {
	Name      string            `yaml:"name"`
	Title     string            `yaml:"title"` // name when empty
	Bash      string            `yaml:"bash"`
	Parts     map[string]string `yaml:"parts"` // pre, main, post: scripts for sh
	Condition string            `yaml:"condition"`
	Continue  bool              `yaml:"continueOnError"`
	Disabled  bool              `yaml:"disabled"`
	Env       map[string]string `yaml:"env"`
	Retries   int               `yaml:"retries"`
	Timeout   int               `yaml:"timeout"` // in minutes of jobMinute
	Stderr    bool              `yaml:"failOnStderr"`
	Commands  string            `yaml:"commands"`
	Settable  *[]string         `yaml:"settable"`
}

// jobMinute is how long a minute of a step's timeout lasts in these tests.
const jobMinute = 300 * time.Millisecond

// partedTask runs a script of the step for each of its parts.
var partedTask = job.TaskReference{ID: "9a3e5f10-2b47-4c8d-9e01-5d6f7a8b9c0d", Name: "Parted", Version: "1.0.0"}

func (s jobStep) step() job.Step {
	enabled := !s.Disabled
	out := job.Step{
		ID: job.NewRecordID(), Name: s.Name, DisplayName: s.Title, Reference: bash, Enabled: &enabled, Condition: s.Condition,
		ContinueOnError: s.Continue, Environment: s.Env, RetryCountOnTaskFailure: s.Retries, TimeoutInMinutes: s.Timeout,
		Inputs: map[string]string{"targetType": "inline", "script": s.Bash},
	}
	if s.Title == "" {
		out.DisplayName = s.Name
	}
	if s.Stderr {
		out.Inputs["failOnStderr"] = "true"
	}
	if s.Parts != nil {
		out.Reference, out.Inputs = partedTask, s.Parts
	}
	if s.Commands != "" || s.Settable != nil {
		out.Target = &job.StepTarget{Commands: s.Commands}
		if s.Settable != nil {
			out.Target.SettableVariables = &job.SettableVariables{Allowed: *s.Settable}
		}
	}
	return out
}

func (c jobCase) message() *job.Message {
	m := message()
	for _, s := range c.Steps {
		m.Steps = append(m.Steps, s.step())
	}
	for name, value := range c.Variables {
		m.Variables[name] = job.Variable{Value: value}
	}
	for name, value := range c.Secrets {
		m.Variables[name] = job.Variable{Value: value, IsSecret: true}
	}
	for name, value := range c.ReadOnly {
		m.Variables[name] = job.Variable{Value: value, IsReadOnly: true}
	}
	for _, expr := range c.Masks {
		m.Mask = append(m.Mask, job.MaskHint{Type: "regex", Value: expr})
	}
	return m
}

// parted hands out the package of the task with three parts.
type parted struct{ body []byte }

func newParted(t *testing.T) parted {
	t.Helper()
	part := func(name string) string {
		return `require('child_process').spawnSync('sh', ['-c', process.env.INPUT_` + strings.ToUpper(name) + ` || 'true'], { stdio: 'inherit' });`
	}
	handler := func(name string) string { return `{"Node16": {"target": "` + name + `.js"}}` }
	files := map[string]string{
		"task.json": `{"id": "` + partedTask.ID + `", "name": "Parted", "friendlyName": "Parted", "version": {"Major": 1, "Minor": 0, "Patch": 0},
			"inputs": [{"name": "pre"}, {"name": "main"}, {"name": "post"}],
			"prejobexecution": ` + handler("pre") + `, "execution": ` + handler("main") + `, "postjobexecution": ` + handler("post") + `}`,
		"pre.js": part("pre"), "main.js": part("main"), "post.js": part("post"),
	}
	var out bytes.Buffer
	if err := pack(&out, files); err != nil {
		t.Fatal(err)
	}
	return parted{out.Bytes()}
}

// pack writes files as the package of a task.
func pack(to io.Writer, files map[string]string) error {
	z := zip.NewWriter(to)
	for name, text := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}

func (p parted) FetchTask(_ context.Context, _ job.TaskReference, to io.Writer) error {
	_, err := to.Write(p.body)
	return err
}

// run runs the job of c.
func (c jobCase) run(t *testing.T, tasks runner.TaskSource) (*recorder, runner.Outcome) {
	t.Helper()
	cfg := config(t)
	cfg.Tasks, cfg.Node = tasks, "node"
	cfg.Interrupt, cfg.Terminate = 300*time.Millisecond, 300*time.Millisecond
	r, err := runner.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.SetMinute(jobMinute)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	rec := newRecorder()
	rec.onLine = func(_ job.Record, line string) {
		if line != "ready" || c.Stop == "" {
			return
		}
		stop := map[string]*job.Stop{
			"canceled": {Reason: job.StopCanceled, Message: "Somebody canceled the job.", Grace: 20 * time.Second},
			"shutdown": {Reason: job.StopShutdown, Message: "The agent shuts down."},
			"lockLost": {Reason: job.StopLockLost, Message: "The job was given to somebody else."},
		}[c.Stop]
		if stop == nil {
			cancel(fmt.Errorf("the case names the unknown stop %q", c.Stop))
			return
		}
		cancel(stop)
	}
	out, err := r.Run(ctx, c.message(), rec)
	if err != nil {
		t.Fatal(err)
	}
	return rec, out
}

// told is what a record says of itself, with its issues below it.
func told(r job.Record) []string {
	lines := []string{r.Name + ": " + string(r.Result)}
	for _, i := range r.Issues {
		lines = append(lines, "- "+string(i.Type)+": "+i.Message)
	}
	return lines
}

// Jobs and what becomes of them: records, their names, order and results, issues,
// outputs, and what is hidden.
func TestJobs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "jobs", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no cases: %v", err)
	}
	tasks := newParted(t)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
		for {
			var c jobCase
			err := decoder.Decode(&c)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || c.Case == "" {
				t.Fatalf("%s: after case %q: %v", file, c.Case, err)
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), ".yml")+"/"+c.Case, func(t *testing.T) {
				t.Parallel()
				c.check(t, tasks)
			})
		}
	}
}

func (c jobCase) check(t *testing.T, tasks runner.TaskSource) {
	t.Helper()
	rec, out := c.run(t, tasks)
	own := rec.record(t, "The job")
	if out.Result != c.Want.Result || own.Result != c.Want.Result || own.State != job.Completed {
		t.Errorf("the job ended as %s, its record as %s, %s; want %s", out.Result, own.Result, own.State, c.Want.Result)
	}
	var records []job.Record
	secret := []string{}
	for _, id := range rec.order {
		r := rec.records[id]
		if r.Type == job.TypeJob {
			continue
		}
		if r.State != job.Completed || r.Result == "" {
			t.Errorf("record %s is left %s, %s", r.Name, r.State, r.Result)
		}
		records = append(records, r)
		for name, v := range r.Variables {
			if v.IsSecret {
				secret = append(secret, r.RefName+"."+name)
			}
		}
	}
	slices.SortFunc(records, func(a, b job.Record) int { return a.Order - b.Order })
	got := []string{}
	for i, r := range records {
		if r.Order != i+1 {
			t.Errorf("record %s has order %d at place %d", r.Name, r.Order, i+1)
		}
		got = append(got, told(r)...)
	}
	// Nearly every job begins and ends alike.
	want := append([]string{"Initialize job: succeeded"}, append(slices.Clone(c.Want.Records), "Finalize Job: succeeded")...)
	if len(c.Want.Records) > 0 && strings.HasPrefix(c.Want.Records[0], "Initialize job: ") {
		want = append(slices.Clone(c.Want.Records), "Finalize Job: succeeded")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append([]string{}, c.Want.Job...), append([]string{}, told(own)[1:]...)); diff != "" {
		t.Errorf("issues of the job (-want +got):\n%s", diff)
	}
	slices.Sort(secret)
	if diff := cmp.Diff(append([]string{}, c.Want.Secret...), secret); diff != "" {
		t.Errorf("secret outputs (-want +got):\n%s", diff)
	}
	outputs := c.Want.Outputs
	if outputs == nil {
		outputs = map[string]string{}
	}
	if diff := cmp.Diff(outputs, out.Outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	c.checkTexts(t, rec)
}

// checkTexts compares what is shown, and what is not.
func (c jobCase) checkTexts(t *testing.T, rec *recorder) {
	t.Helper()
	for name, lines := range c.Want.Printed {
		log := rec.log(t, name)
		rest := log
		for _, line := range lines {
			at := slices.Index(rest, line)
			if at < 0 {
				t.Errorf("the log of %s lacks %q, or has it too early:\n%s", name, line, strings.Join(log, "\n"))
				break
			}
			rest = rest[at+1:]
		}
	}
	all := rec.everything()
	for _, text := range c.Want.Nowhere {
		if at := strings.Index(all, text); at >= 0 {
			t.Errorf("%q was shown: %q", text, all[max(at-60, 0):min(at+60, len(all))])
		}
	}
}

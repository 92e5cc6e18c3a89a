package emulator_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

const pipelineText = `
parameters:
- name: who
  default: nobody
stages:
- stage: one
  jobs:
  - job: build
    displayName: Build it
    steps:
    - script: echo ${{ parameters.who }}
      name: out
  - job: test
    dependsOn: build
    variables:
      got: $[ dependencies.build.outputs['out.tag'] ]
    steps:
    - script: echo $(got)
  - job: clean
    dependsOn: build
    condition: failed()
    steps:
    - script: "true"
- stage: two
  jobs:
  - job: legs
    strategy:
      matrix:
        a: { x: 1 }
        b: { x: 2 }
    steps:
    - script: echo $(x)
`

func (p *peer) queueYAML(text, query string) emulator.Run {
	p.t.Helper()
	var run emulator.Run
	p.want(200, "POST", control+query, text, header{"Content-Type", "application/yaml"}).into(p.t, &run)
	return run
}

// states returns "name state result" of every job.
func states(srv *emulatortest.Server) []string {
	var out []string
	for _, st := range srv.Jobs() {
		out = append(out, strings.TrimSpace(st.Name+" "+string(st.State)+" "+string(st.Result)))
	}
	return out
}

// Design §9: jobs are queued as their dependencies complete; skipped ones are
// completed as skipped; outputs reach the jobs that ask for them.
func TestTheJobsOfAPipelineFollowEachOther(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	run := p.queueYAML(pipelineText, "?param.who=world&file=ci.yml")
	if len(run.Jobs) != 4 {
		t.Fatalf("run = %+v, want four jobs", run)
	}
	p.take()
	steps, _ := json.Marshal(p.message["steps"])
	if !strings.Contains(string(steps), "echo world") {
		t.Errorf("steps = %s, want the parameter's value", steps)
	}
	p.mustRenew()
	p.mustPatch(p.jobRecord("inProgress", ""))
	p.pending()
	ids := p.stepIDs()
	step := p.step(ids[len(ids)-1], "completed", "succeeded")
	for _, id := range ids[:len(ids)-1] {
		p.mustPatch(p.step(id, "completed", "succeeded"))
	}
	step["refName"], step["variables"] = "out", map[string]any{"tag": map[string]string{"value": "v1"}}
	p.mustPatch(step, p.jobRecord("completed", "succeeded"))
	if a := p.complete("succeeded"); a.status != 204 {
		t.Fatalf("completion = %d %s", a.status, a.body)
	}
	want := []string{"one.build completed succeeded", "one.test assigned", "one.clean completed skipped", "two.legs queued"}
	if diff := cmp.Diff(want, states(srv)); diff != "" {
		t.Errorf("jobs after the first (-want +got):\n%s", diff)
	}
	p.take()
	if got := p.message["variables"].(map[string]any)["got"].(map[string]any)["value"]; got != "v1" { //nolint:forcetypeassert // the test may panic
		t.Errorf("output of the first job = %v, want v1", got)
	}
	p.mustRenew()
	p.runWhole("succeeded")
	want = []string{"one.build completed succeeded", "one.test completed succeeded", "one.clean completed skipped", "two.legs.a assigned", "two.legs.b queued"}
	if diff := cmp.Diff(want, states(srv)); diff != "" {
		t.Errorf("jobs after the second (-want +got):\n%s", diff)
	}
	for range 2 {
		p.take()
		p.mustRenew()
		p.runWhole("succeeded")
	}
	for _, st := range srv.Jobs() {
		if st.State != emulator.Completed {
			t.Errorf("job %s is %s at the end", st.Name, st.State)
		}
	}
	if got := srv.Violations(); len(got) != 0 {
		t.Errorf("violations = %+v", got)
	}
}

func TestCancellingAJobThatWaitsForOthers(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	run := p.queueYAML("jobs:\n- job: a\n  steps: [{script: 'true'}]\n- job: b\n  dependsOn: a\n  steps: [{script: 'true'}]\n", "")
	p.want(200, "POST", control+"/"+string(run.Jobs[1].ID)+"/cancel", nil)
	p.take()
	p.mustRenew()
	p.runWhole("succeeded")
	if diff := cmp.Diff([]string{"a completed succeeded", "b completed canceled"}, states(srv)); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
	p.want(409, "POST", control+"/"+string(run.Jobs[1].ID)+"/cancel", nil)
}

func TestMistakesInAPipelineAreExplained(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	yaml := header{"Content-Type", "application/yaml"}
	for text, want := range map[string]string{
		"steps:\n- scrip: x\n":                  "ci.yml (Line: 2",
		"pool: nowhere\nsteps: [{script: x}]\n": `the pool \"nowhere\"`,
		"{":                                     "ci.yml",
	} {
		a := p.want(400, "POST", control+"?file=ci.yml", text, yaml)
		if !strings.Contains(string(a.body), want) {
			t.Errorf("answer to %q = %s, want it to contain %s", text, a.body, want)
		}
	}
	var explained struct {
		Errors []struct {
			File, Message string
			Line, Column  int
			Hints         []string
		}
	}
	p.want(400, "POST", control, "pool: {vmimage: x}\nsteps:\n- task: Dokcer@2\n", yaml).into(t, &explained)
	type mistake struct {
		place, message string
		hints          []string
	}
	var got []mistake
	for _, e := range explained.Errors {
		got = append(got, mistake{fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column), e.Message, e.Hints})
	}
	want := []mistake{
		{"/azure-pipelines.yml:1:8", "Unexpected value 'vmimage'", []string{"write 'vmImage': keys have exactly this case"}},
		{"/azure-pipelines.yml:3:9", "The task 'Dokcer@2' is not known: without its id it cannot run", []string{"did you mean Docker@2?"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mistake{})); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	a := p.want(400, "POST", control+"?repo=/nonexistent", "steps: [{script: x}]", yaml)
	if !strings.Contains(string(a.body), "/nonexistent") {
		t.Errorf("answer = %s, want it to name the directory", a.body)
	}
	p.want(400, "POST", control, `{"jobId":"x"}`, header{"Content-Type", "application/json"})
	p.want(415, "POST", control, "x", header{"Content-Type", "text/plain"})
	p.want(404, "GET", control+"/11111111-1111-4111-8111-111111111111/report", nil)
	p.want(404, "GET", "/_emulator/nothing", nil)
	if got := srv.Jobs(); len(got) != 0 {
		t.Errorf("jobs = %+v, want none", got)
	}
}

// repo=PATH: self is the repository at that directory, its branch and commit.
func TestARepositoryBecomesSelf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=A. Author", "-c", "user.email=a@example.test"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	git("init", "-q", "-b", "topic")
	git("commit", "-q", "--allow-empty", "-m", "first")
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	p.queueYAML("steps: [{checkout: self}]", "?repo="+dir)
	p.take()
	text, _ := json.Marshal(p.message)
	m, err := job.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	self, _ := m.Repository("self")
	got := []string{self.Text("url"), self.Text("ref"), self.Text("version"), self.Text("name"), m.Variables["Build.SourceBranch"].Value}
	if diff := cmp.Diff([]string{"file://" + dir, "refs/heads/topic", git("rev-parse", "HEAD"), "shop", "refs/heads/topic"}, got); diff != "" {
		t.Errorf("self (-want +got):\n%s", diff)
	}
}

// A job that cannot start fails with a reason, in its state and on its record; one
// that is skipped tells why in its state. What depends on them follows.
func TestJobsThatDoNotRunTellWhy(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	run := p.queueYAML(`
lockBehavior: sequential
jobs:
- job: late
  timeoutInMinutes: $[ variables.soon ]
  variables: {soon: tomorrow}
- job: never
  condition: eq(1, 2)
- job: after
  dependsOn: late
`, "")
	if len(run.Warnings) != 1 || !strings.Contains(run.Warnings[0], "lockBehavior") {
		t.Errorf("warnings = %q, want one about lockBehavior", run.Warnings)
	}
	want := []struct {
		result job.Result
		reason string
	}{
		{job.Failed, "timeoutInMinutes: Unexpected value 'tomorrow'"},
		{job.Skipped, "Evaluating: eq(1, 2)"},
		{job.Skipped, "Evaluating: succeeded()"},
	}
	for i, st := range srv.Jobs() {
		if st.State != emulator.Completed || st.Result != want[i].result || !strings.Contains(st.Reason, want[i].reason) {
			t.Errorf("job %s is %s, %s because %q; want %+v", st.Name, st.State, st.Result, st.Reason, want[i])
		}
	}
	report, err := srv.Report(run.Jobs[0].ID)
	if err != nil || len(report.Records) != 1 || len(report.Records[0].Issues) != 1 {
		t.Fatalf("report = %+v, %v, want one issue", report, err)
	}
	if got := report.Records[0].Issues[0].Message; !strings.Contains(got, want[0].reason) {
		t.Errorf("issue = %q, want %q", got, want[0].reason)
	}
}

// A matrix that is canceled while it waits does not start when it may.
func TestCancellingAMatrixThatWaitsForOthers(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	run := p.queueYAML("jobs:\n- job: a\n  steps: [{script: 'true'}]\n- job: b\n  dependsOn: a\n  strategy: {matrix: {x: {v: 1}, y: {v: 2}}}\n- job: c\n  dependsOn: b\n", "")
	srv.Cancel(run.Jobs[1].ID)
	p.take()
	p.mustRenew()
	p.runWhole("succeeded")
	want := []string{"a completed succeeded", "b completed canceled", "c completed skipped"}
	if diff := cmp.Diff(want, states(srv)); diff != "" {
		t.Errorf("jobs (-want +got):\n%s", diff)
	}
}

// repo=PATH has the templates, file=PATH the place they are named from; nothing
// outside of the repository can be read.
func TestTemplatesComeFromTheRepository(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "shop")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("shop/ci/steps.yml", "parameters: [{name: who}]\nsteps:\n- script: echo ${{ parameters.who }}\n")
	write("outside.yml", "steps:\n- script: stolen\n")
	if err := os.Symlink("../outside.yml", filepath.Join(dir, "link.yml")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yml"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"commit", "-q", "--allow-empty", "-m", "first"}} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@example.test"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	query := "?file=ci/main.yml&repo=" + dir
	p.queueYAML("steps:\n- template: steps.yml\n  parameters: {who: you}\n", query)
	p.take()
	if steps, _ := json.Marshal(p.message["steps"]); !strings.Contains(string(steps), "echo you") {
		t.Errorf("steps = %s, want those of the template", steps)
	}
	for name, want := range map[string]string{
		"/link.yml": "escapes", "/pipe.yml": "not a file", "../../outside.yml": "outside of its repository", "nothing.yml": "not in the repository",
		"steps.yml@other": "the repository 'other' is not here",
	} {
		a := p.want(400, "POST", control+query, "steps:\n- template: "+name+"\n", header{"Content-Type", "application/yaml"})
		if !strings.Contains(string(a.body), want) {
			t.Errorf("answer to the template %s = %s, want it to contain %q", name, a.body, want)
		}
	}
}

// timeoutInMinutes and cancelTimeoutInMinutes bound the job as the file says (§8.14).
func TestAPipelineSaysHowLongItsJobsMayTake(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration = time.Minute })
	p := online(t, srv, "a")
	run := p.queueYAML("jobs:\n- job: a\n  timeoutInMinutes: 7\n  cancelTimeoutInMinutes: 2\n  steps: [{script: 'sleep 600'}]\n", "")
	if got := srv.Timeout(run.Jobs[0].ID); got != 7*time.Minute {
		t.Errorf("timeout = %s, want 7m", got)
	}
	srv.SetTimeout(run.Jobs[0].ID, 20*time.Millisecond)
	p.running()
	if m := p.poll(); m == nil || m.MessageType != "JobCancellation" || !strings.Contains(m.Body, `"timeout":"00:02:00"`) {
		t.Errorf("message = %+v, want a cancellation with two minutes to end", m)
	}
}

// Every run has its own number, and a pipeline that cannot be queued leaves nothing.
func TestPipelinesMayBeQueuedAllAtOnce(t *testing.T) {
	srv := emulatortest.New(t)
	const runs = 8
	numbers := make(chan int, runs)
	var queuing sync.WaitGroup
	for range runs {
		queuing.Go(func() {
			if _, err := srv.QueuePipeline(t.Context(), []byte("steps: [{scrip: x}]"), emulator.Pipeline{}); err == nil {
				t.Error("a pipeline with a mistake was queued")
			}
			run, err := srv.QueuePipeline(t.Context(), []byte("jobs:\n- job: a\n- job: b\n  dependsOn: a\n"), emulator.Pipeline{})
			if err != nil {
				t.Error(err)
			}
			numbers <- run.Run
		})
	}
	queuing.Wait()
	seen := make(map[int]bool)
	for range runs {
		seen[<-numbers] = true
	}
	if len(seen) != runs || len(srv.Jobs()) != 2*runs {
		t.Errorf("%d different runs with %d jobs, want %d with %d", len(seen), len(srv.Jobs()), runs, 2*runs)
	}
}

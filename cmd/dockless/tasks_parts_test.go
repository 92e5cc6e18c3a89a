package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// Protocol §7.4 and §8.1.
func TestThePartsOfATaskRunBeforeAsAndAfterTheSteps(t *testing.T) {
	s := startTaskStage(t)
	const say = `const e = process.env; const part = require('path').basename(process.argv[1], '.js');
console.log(part + ' of ' + e.INPUT_WHO + ' knows ' + (e.VSTS_TASKVARIABLE_NOTE_OF || 'nothing'));
console.log('##vso[task.settaskvariable variable=note.of]' + part + ' ' + e.INPUT_WHO);
require('fs').writeFileSync(e.AGENT_TEMPDIRECTORY + '/.taskkey', 'key');
if (e.INPUT_FAILS === part) process.exit(7);
`
	s.offer(map[string]string{
		"task.json": ownDefinition(`"inputs": [{"name": "who"}, {"name": "fails"}], "prejobexecution": {"Node16": {"target": "pre.js"}},
			"execution": {"Node16": {"target": "main.js"}}, "postjobexecution": {"Node": {"target": "post.js"}}`),
		"pre.js": say, "main.js": say, "post.js": say,
	})
	s.OfferTask("66666666-6666-4666-8666-666666666666", "1.2.3", zipped(t, map[string]string{
		"task.json": strings.Replace(ownDefinition(`"postjobexecution": {"Node": {"target": "post.js"}}`), "77777777-7777-4777-8777-777777777777", "66666666-6666-4666-8666-666666666666", 1),
		"post.js":   "console.log('only after')",
	}))
	who := func(name, fails string) job.Step {
		return ownStep(name, func(st *job.Step) { st.Inputs = map[string]string{"who": name, "fails": fails} })
	}
	late := ownStep("late", func(st *job.Step) { st.Reference.ID = "66666666-6666-4666-8666-666666666666" })
	_, report := s.run(emulatortest.Steps(who("a", "main"), late, who("b", "")))
	if report.Result != job.Failed {
		t.Errorf("the job is %s, want failed", report.Result)
	}
	want := []string{"Initialize job", "Pre-job: a", "Pre-job: b", "a", "b", "Post-job: b", "Post-job: late", "Post-job: a", "Finalize Job"}
	if diff := cmp.Diff(want, recordNames(report)); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	for name, c := range map[string]struct {
		result job.Result
		line   string
	}{
		"Pre-job: a": {job.Succeeded, "pre of a knows nothing"}, "Pre-job: b": {job.Succeeded, "pre of b knows nothing"},
		"a": {job.Failed, "main of a knows pre a"}, "b": {job.Skipped, ""},
		"Post-job: b": {job.Succeeded, "post of b knows pre b"}, "Post-job: a": {job.Succeeded, "post of a knows main a"},
		"Post-job: late": {job.Succeeded, "only after"},
	} {
		rec := recordNamed(t, report, name)
		if rec.Result != c.result || c.line != "" && !slices.Contains(rec.Log, c.line) {
			t.Errorf("%s is %s, want %s and %q in\n%s", name, rec.Result, c.result, c.line, strings.Join(rec.Log, "\n"))
		}
	}
	failed := recordNamed(t, report, "a")
	if len(failed.Issues) != 1 || failed.Issues[0].Message != "Node exited with code '7'." {
		t.Errorf("issues = %v", failed.Issues)
	}
	header := []string{"Task         : A task of our own", "Description  : For tests.", "Version      : 1.2.3", "Author       : the tests", "Help         : https://example.com/"}
	if got := failed.Log[2:7]; !slices.Equal(got, header) {
		t.Errorf("the log opens with %q, want %q", got, header)
	}
	if left := listFiles(t, filepath.Join(s.work, "_temp")); len(left) != 0 {
		t.Errorf("left in the temp directory: %q", left)
	}
}

// Protocol §8.8: task.complete is a merge, and so is the exit code.
func TestWhatATaskSaysOfItsResultAndItsExitCodeAreMerged(t *testing.T) {
	s := startTaskStage(t)
	s.offer(map[string]string{"task.json": mainOnly(""), "main.js": `
		if (process.env.SAYS) console.log('##vso[task.complete result=' + process.env.SAYS + ';]said');
		process.exitCode = +process.env.CODE;`})
	var steps []job.Step
	want := map[string]job.Result{
		"/0": job.Succeeded, "/1": job.Failed, "Failed/0": job.Failed, "SucceededWithIssues/0": job.SucceededWithIssues,
		"SucceededWithIssues/3": job.Failed, "Skipped/0": job.Skipped,
	}
	for name := range want {
		says, code, _ := strings.Cut(name, "/")
		steps = append(steps, ownStep(name, func(st *job.Step) {
			st.Condition, st.Environment = "always()", map[string]string{"SAYS": says, "CODE": code}
		}))
	}
	_, report := s.run(emulatortest.Steps(steps...))
	for name, result := range want {
		if got := recordNamed(t, report, name).Result; got != result {
			t.Errorf("%s is %s, want %s", name, got, result)
		}
	}
}

// What a definition says of commands holds beside what the pipeline says.
func TestADefinitionRestrictsItsTaskAndDeclaresItsOutputs(t *testing.T) {
	s := startTaskStage(t)
	s.offer(map[string]string{
		"task.json": mainOnly(`"outputVariables": [{"name": "made"}],
			"restrictions": {"commands": {"mode": "restricted"}, "settableVariables": {"allowed": ["made", "ok*"]}}, `),
		"main.js": `console.log('##vso[task.setvariable variable=made]output');
console.log('##vso[task.setvariable variable=okay]plain');
console.log('##vso[task.setvariable variable=other]refused');
console.log('##vso[task.uploadfile]/etc/hostname');`,
	})
	target := &job.StepTarget{SettableVariables: &job.SettableVariables{Allowed: []string{"made"}}}
	_, report := s.run(emulatortest.Steps(ownStep("one"), ownStep("two", func(st *job.Step) { st.Target = target }),
		emulatortest.Script("echo \"<$(one.made)> <$(okay)> <$(other)>\"").Steps[0]))
	s.wantResult(report, job.Succeeded)
	if log := recordNamed(t, report, "Run a script").Log; !slices.Contains(log, "<output> <plain> <>") {
		t.Errorf("the script sees\n%s", strings.Join(log, "\n"))
	}
	if report.Outputs["one.made"] != "output" {
		t.Errorf("outputs = %v, want one.made", report.Outputs)
	}
	for step, warnings := range map[string]int{"one": 2, "two": 3} {
		if got := recordNamed(t, report, step).WarningCount; got != warnings {
			t.Errorf("%s has %d warnings, want %d", step, got, warnings)
		}
	}
}

func TestAHandlerChoosesItsWorkingDirectory(t *testing.T) {
	elsewhere := t.TempDir()
	node := filepath.Join(t.TempDir(), "node") // an older one than the pre-job part asks for
	if err := os.WriteFile(node, []byte("#!/bin/sh\n[ \"$1\" != --version ] || exec echo v20.1.2\nexec node \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := startTaskStage(t, func(a *agentSettings) { a.Runner.Node = node })
	s.offer(map[string]string{
		"task.json": ownDefinition(`"inputs": [{"name": "cwd"}], "prejobexecution": {"Node24": {"target": "cwd.js", "workingDirectory": "$(currentDirectory)/lib"}},
			"execution": {"Node16": {"target": "cwd.js", "workingDirectory": "$(cwd)"}}`),
		"cwd.js": "console.log('in ' + process.cwd())", "lib/x": "",
	})
	in := func(name, dir string) job.Step {
		return ownStep(name, func(st *job.Step) {
			st.Condition, st.Inputs = "always()", map[string]string{"cwd": dir}
		})
	}
	_, report := s.run(emulatortest.Steps(in("given", elsewhere), in("default", ""), in("missing", "/no/such/directory")))
	for name, want := range map[string]string{
		"Pre-job: given": filepath.Join(s.work, "_tasks", "Own_"+ownTask.ID, "1.2.3", "lib"), "given": elsewhere, "default": filepath.Join(s.work, "1", "s"),
	} {
		if log := recordNamed(t, report, name).Log; !slices.Contains(log, "in "+want) {
			t.Errorf("%s ran elsewhere than in %s:\n%s", name, want, strings.Join(log, "\n"))
		}
	}
	if rec := recordNamed(t, report, "missing"); rec.Result != job.Failed || !strings.Contains(rec.Issues[0].Message, "/no/such/directory does not exist") {
		t.Errorf("in a directory that is missing the step is %s: %v", rec.Result, rec.Issues)
	}
	if rec := recordNamed(t, report, "Pre-job: given"); rec.WarningCount != 1 || !strings.Contains(rec.Issues[0].Message, "written for Node.js 24 and runs with 20.1.2") {
		t.Errorf("issues of the part for a newer Node = %v, want a warning", rec.Issues)
	}
}

func TestAnInputThatNoEnvironmentCanHoldSaysSo(t *testing.T) {
	s := startTaskStage(t)
	s.offer(map[string]string{"task.json": mainOnly(""), "main.js": ""})
	_, report := s.run(emulatortest.Steps(ownStep("long", func(st *job.Step) {
		st.Inputs = map[string]string{"text": strings.Repeat("x", 200<<10)}
	})))
	if log := strings.Join(recordNamed(t, report, "long").Log, "\n"); report.Result != job.Failed || !strings.Contains(log, "hint: Linux takes at most 128 KiB for one entry of the environment; the largest one, INPUT_TEXT,") {
		t.Errorf("the job is %s with the log\n%s", report.Result, log)
	}
}

func TestTheBuildOfAForkRunsNoTaskWithAConnection(t *testing.T) {
	s := startTaskStage(t)
	ran := filepath.Join(t.TempDir(), "ran")
	s.offer(map[string]string{
		"task.json": mainOnly(`"inputs": [{"name": "where", "type": "connectedService:Generic", "aliases": ["connection"]}, {"name": "key", "type": "secureFile"}], `),
		"main.js":   "require('fs').appendFileSync('" + ran + "', process.env.SYSTEM_TASKINSTANCENAME + ' ')",
	})
	with := func(name, input, value string) job.Step {
		return ownStep(name, func(st *job.Step) { st.Inputs = map[string]string{input: value} })
	}
	skipped := []job.Step{
		with("connection", "where", "x"), with("file", "key", "x"), with("alias", "connection", "x"), with("blank", " where ", "x"),
		with("case", "WHERE", "x"), with("both", "Connection ", "x"), with("variable", "where", "$(where)"),
	}
	m := emulatortest.Steps(append(slices.Clone(skipped), ownStep("neither"), with("empty", "connection", " "))...)
	m.Variables = map[string]job.Variable{"system.restrictSecrets": {Value: "true"}, "build.isFork": {Value: "True"}, "where": {}}
	_, report := s.run(m)
	s.wantResult(report, job.Succeeded)
	if text, err := os.ReadFile(ran); err != nil || string(text) != "neither empty " {
		t.Errorf("ran %q, %v", text, err)
	}
	for _, step := range skipped {
		if got := recordNamed(t, report, step.Name).Result; got != job.Skipped {
			t.Errorf("step %s is %s, want skipped", step.Name, got)
		}
	}
}

func TestTheBuildOfAForkIsGivenNoConnectionByDefault(t *testing.T) {
	s := startTaskStage(t)
	s.offer(map[string]string{
		"task.json": mainOnly(`"inputs": [{"name": "where", "type": "connectedService:Generic", "defaultValue": "x"}], `), "main.js": "",
	})
	m := emulatortest.Steps(ownStep("default"), ownStep("empty", func(st *job.Step) { st.Inputs = map[string]string{"where": ""} }))
	m.Variables = map[string]job.Variable{"system.restrictSecrets": {Value: "true"}, "build.isFork": {Value: "True"}}
	_, report := s.run(m)
	for name, want := range map[string]job.Result{"default": job.Skipped, "empty": job.Succeeded} {
		if got := recordNamed(t, report, name).Result; got != want {
			t.Errorf("step %s is %s, want %s", name, got, want)
		}
	}
}

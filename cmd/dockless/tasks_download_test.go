package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

func TestA37EachVersionOfATaskIsDownloadedOncePerJob(t *testing.T) {
	s := startTaskStage(t)
	files := map[string]string{"task.json": mainOnly(""), "main.js": "console.log('version three')"}
	s.offer(files)
	files["task.json"] = strings.Replace(files["task.json"], `"Patch": 3`, `"Patch": 4`, 1)
	files["main.js"] = "console.log('version four')"
	s.OfferTask(ownTask.ID, "1.2.4", zipped(t, files))
	disabled := false
	steps := func() *job.Message {
		return emulatortest.Steps(ownStep("one"), ownStep("two"),
			ownStep("other", func(st *job.Step) { st.Reference.Version = "1.2.4" }),
			ownStep("again", func(st *job.Step) { st.Reference.ID = strings.ToUpper(ownTask.ID) }),
			ownStep("disabled", func(st *job.Step) { st.Enabled, st.Reference.Version = &disabled, "9.9.9" }),
			emulatortest.Script("true").Steps[0])
	}
	id, report := s.run(steps())
	s.wantResult(report, job.Succeeded)
	if got := s.downloads(id); got != 2 {
		t.Errorf("%d downloads, want one for each version", got)
	}
	for step, want := range map[string]string{"one": "version three", "two": "version three", "other": "version four", "again": "version three"} {
		if log := recordNamed(t, report, step).Log; !slices.Contains(log, want) {
			t.Errorf("%s printed\n%s\nwant %s", step, strings.Join(log, "\n"), want)
		}
	}
	if log := recordNamed(t, report, "Initialize job").Log; !slices.Contains(log, "Downloading task: Own (1.2.3)") {
		t.Errorf("the log does not say what is downloaded:\n%s", strings.Join(log, "\n"))
	}
	var first string
	for _, c := range s.Calls(id) {
		if c.Resource == "tasks" || c.Note != "" && strings.Contains(c.Note, "one") {
			first = c.Resource
			break
		}
	}
	if first != "tasks" {
		t.Errorf("the first call is for %s, want the packages before any step", first)
	}

	id, report = s.run(steps())
	s.wantResult(report, job.Succeeded)
	if got := s.downloads(id); got != 0 {
		t.Errorf("%d downloads in the next job, want none: the markers are there", got)
	}

	folder := filepath.Join(s.work, "_tasks", "Own_"+ownTask.ID)
	if err := os.Remove(filepath.Join(folder, "1.2.3.completed")); err != nil {
		t.Fatal(err)
	}
	id, report = s.run(steps())
	s.wantResult(report, job.Succeeded)
	if got := s.downloads(id); got != 1 {
		t.Errorf("%d downloads without one marker, want 1", got)
	}
}

func TestA37APackageThatCannotBeUsedFailsTheJobBeforeAnyStep(t *testing.T) {
	s := startTaskStage(t)
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"no task.json":    {zipped(t, map[string]string{"main.js": "1"}), "it has no task.json"},
		"broken JSON":     {zipped(t, map[string]string{"task.json": "{"}), "task.json"},
		"another task":    {zipped(t, map[string]string{"task.json": strings.Replace(mainOnly(""), "77777777", "88888888", 1), "main.js": ""}), "it holds task 88888888"},
		"another version": {zipped(t, map[string]string{"task.json": strings.Replace(mainOnly(""), `"Patch": 3`, `"Patch": 5`, 1), "main.js": ""}), "1.2.5"},
		"a way out":       {zipped(t, map[string]string{"task.json": mainOnly(""), "main.js": "", "../../../../out.js": "1"}), "leads out of it"},
		"a bomb":          {bomb(t), "more than"},
		"no zip":          {[]byte("<html>"), "not a valid zip file"},
		"only PowerShell": {zipped(t, map[string]string{"task.json": ownDefinition(`"execution": {"PowerShell3": {"target": "x.ps1"}}`)}), "is run by PowerShell3 only"},
		"only a plugin":   {zipped(t, map[string]string{"task.json": ownDefinition(`"execution": {"AgentPlugin": {"target": "x"}, "Node99": {}}`)}), "is run by AgentPlugin or Node99 only"},
		"no such target":  {zipped(t, map[string]string{"task.json": mainOnly("")}), "no file of its package"},
		"a target outside": {zipped(t, map[string]string{
			"task.json": ownDefinition(`"execution": {"Node": {"target": "../1.2.3/task.json"}}`),
		}), "no file of its package"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Join(s.work, "_tasks")); err != nil {
				t.Fatal(err)
			}
			s.OfferTask(ownTask.ID, ownTask.Version, c.body)
			id, report := s.run(emulatortest.Steps(ownStep("one"), ownStep("two")))
			init := recordNamed(t, report, "Initialize job")
			log := strings.Join(init.Log, "\n")
			if report.Result != job.Failed || init.Result != job.Failed || len(init.Issues) == 0 {
				t.Fatalf("the job is %s, its beginning %s with issues %v:\n%s", report.Result, init.Result, init.Issues, log)
			}
			if got := init.Issues[0].Message; !strings.Contains(got, c.want) || !strings.Contains(got, "Own@1 ("+ownTask.ID) {
				t.Errorf("the issue is %q, want one that names the task and says %q", got, c.want)
			}
			if got := recordNames(report); len(got) != 2 {
				t.Errorf("records %q, want none of a step", got)
			}
			if got := s.downloads(id); got != 1 {
				t.Errorf("%d downloads, want 1", got)
			}
			for _, file := range listFiles(t, filepath.Dir(s.work)) {
				if strings.HasSuffix(file, "out.js") {
					t.Errorf("written outside of the package: %s", file)
				}
			}
		})
	}
	t.Run("no such task", func(t *testing.T) {
		m := emulatortest.Steps(ownStep("one", func(st *job.Step) { st.Reference.ID = "66666666-6666-4666-8666-666666666666" }))
		_, report := s.run(m)
		init := recordNamed(t, report, "Initialize job")
		if report.Result != job.Failed || len(init.Issues) != 1 || !strings.Contains(init.Issues[0].Message, "TaskDefinitionNotFoundException") {
			t.Errorf("the job is %s, issues %v; want one failure without further attempts", report.Result, init.Issues)
		}
	})
}

// bomb is a small archive of more files than any task has.
func bomb(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := range 150_000 {
		if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWithoutANodeThatCanRunItATaskFailsWithAHint(t *testing.T) {
	dir := t.TempDir()
	program := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ node, want string }{
		"none":           {"no-such-node", "not installed here"},
		"too old":        {program("old", "echo v14.21.3"), "need Node.js 16 or later"},
		"something else": {program("else", "echo 1.2.3"), "not that of Node.js"},
		"broken":         {program("broken", "exit 3"), "exit status 3"},
		"turned off":     {"", "names none"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startTaskStage(t, func(a *agentSettings) { a.Runner.Node = c.node })
			s.offer(map[string]string{"task.json": mainOnly(""), "main.js": ""})
			_, report := s.run(emulatortest.Steps(ownStep("one")))
			init := recordNamed(t, report, "Initialize job")
			log := strings.Join(init.Log, "\n")
			if report.Result != job.Failed || !strings.Contains(log, c.want) || !strings.Contains(log, "hint: ") || !strings.Contains(log, "DOCKLESS_NODE") {
				t.Errorf("the job is %s; want %q and a hint in\n%s", report.Result, c.want, log)
			}
			// A job that needs no Node does not mind.
			_, report = s.run(emulatortest.Script("true"))
			s.wantResult(report, job.Succeeded)
		})
	}
}

func TestTheVersionOfNodeIsAskedForOnce(t *testing.T) {
	dir := t.TempDir()
	asked, wrapper := filepath.Join(dir, "asked"), filepath.Join(dir, "node")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" != --version ] || echo . >> %s\nexec node \"$@\"\n", asked)
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := startTaskStage(t, func(a *agentSettings) { a.Runner.Node = wrapper })
	s.offer(map[string]string{"task.json": mainOnly(""), "main.js": ""})
	for range 2 {
		_, report := s.run(emulatortest.Steps(ownStep("one"), ownStep("two")))
		s.wantResult(report, job.Succeeded)
	}
	if text, err := os.ReadFile(asked); err != nil || string(text) != ".\n" {
		t.Errorf("asked %q, %v; want once", text, err)
	}
}

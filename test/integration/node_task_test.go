package integration_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// packTask packs the folder of a task together with the packages for Node that
// it loads, the task library and more, as whoever publishes one does.
func packTask(t *testing.T, folder string, more ...string) []byte {
	t.Helper()
	modules, err := rig.NodeModules()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	add := func(from, prefix string) error {
		return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close() //nolint:errcheck // read only
			w, err := z.Create(filepath.ToSlash(filepath.Join(prefix, rel)))
			if err == nil {
				_, err = io.Copy(w, file)
			}
			return err
		})
	}
	errs := []error{add(folder, "")}
	for _, name := range nodePackages(t, modules, append(more, "azure-pipelines-task-lib")) {
		errs = append(errs, add(filepath.Join(modules, name), filepath.Join("node_modules", name)))
	}
	if err := errors.Join(append(errs, z.Close())...); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// nodePackages returns the names of packages and of all that they need, which lie
// side by side in modules.
func nodePackages(t *testing.T, modules string, wanted []string) []string {
	t.Helper()
	var all []string
	for len(wanted) > 0 {
		name := wanted[0]
		wanted = wanted[1:]
		if slices.Contains(all, name) {
			continue
		}
		all = append(all, name)
		text, err := os.ReadFile(filepath.Join(modules, name, "package.json"))
		if err != nil {
			t.Fatalf("looking for the npm package %s: %v; hack/setup.sh installs it", name, err)
		}
		var described struct{ Dependencies map[string]string }
		if err := json.Unmarshal(text, &described); err != nil {
			t.Fatalf("reading the description of %s: %v", name, err)
		}
		wanted = slices.AppendSeq(wanted, maps.Keys(described.Dependencies))
	}
	return all
}

// tourSteps are the steps around one use of the task.
func tourSteps(ref job.TaskReference, report string) []job.Step {
	return []job.Step{
		{
			ID: job.NewRecordID(), Name: "tour", DisplayName: "Tour", Reference: ref, Condition: "succeeded()",
			Inputs: map[string]string{
				"who": "$(plain.value)", "list": "a\n\n b ", "connection": "0b1c2d3e-0000-4000-8000-00000000aaaa", "key": "f1", "report": report,
			},
		},
		{
			ID: job.NewRecordID(), Name: "after", DisplayName: "After", Condition: "succeeded()",
			Reference: job.TaskReference{ID: "d9bafed4-0b18-4f58-968d-86655b4d2ce9", Name: "CmdLine", Version: "2.279.1"},
			Inputs: map[string]string{
				"script": "echo \"later: $(later)\"\necho \"open: $(tour.open), declared: $(tour.declared)\"\necho \"hush: $(tour.hush)\"\necho \"${#HUSH} letters\"\necho \"path: $PATH\"",
			},
			Environment: map[string]string{"HUSH": "$(tour.hush)"},
		},
	}
}

func tourMessage(steps []job.Step) *job.Message {
	plan := uuid.NewString()
	m := &job.Message{
		Plan:     job.Plan{ScopeIdentifier: uuid.NewString(), PlanType: "Build", Version: 9, PlanID: job.PlanID(plan)},
		Timeline: job.TimelineReference{ID: job.TimelineID(plan), ChangeID: 1},
		JobID:    job.ID(uuid.NewString()), JobName: "__default", JobDisplayName: "Job", Steps: steps,
		Variables: map[string]job.Variable{"plain.value": {Value: "World"}, "hidden.value": {Value: "h1dden-value", IsSecret: true}},
	}
	m.Resources.Endpoints = []job.Endpoint{{
		ID: "0b1c2d3e-0000-4000-8000-00000000aaaa", Name: "generic", Type: "Generic", URL: "https://generic.example/",
		Authorization: job.Authorization{Scheme: "Token", Parameters: map[string]string{"apitoken": "t0ken-of-the-endpoint"}},
		Data:          map[string]string{"region": "north"},
	}}
	m.Resources.SecureFiles = []job.SecureFile{{ID: "f1", Name: "id_rsa", Ticket: "t1cket-of-the-file"}}
	return m
}

// The task library is Microsoft's own: what it finds is what published tasks find.
func TestATaskFindsWhatItsLibraryLooksFor(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	ref, err := s.OfferTask(t.Context(), packTask(t, filepath.Join("testdata", "task")))
	if err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, s, stage.AgentOptions{Env: alone})
	report := filepath.Join(s.Dir, "report.json")
	j, err := s.QueueMessage(t.Context(), tourMessage(tourSteps(ref, report)))
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.SucceededWithIssues {
		dumpLog(t, r)
		t.Fatalf("the job ended as %s, want succeededWithIssues; the agent's log ends with:\n%s", r.Result, a.Tail())
	}
	work := filepath.Join(s.Dir, "stage", "work")
	checkTourReport(t, report, filepath.Join(work, "1", "s"))
	checkTourLogs(t, r)
	if left, err := os.ReadDir(filepath.Join(work, "_temp")); err != nil || len(left) != 0 {
		t.Errorf("left in the temp directory: %v, %v; want nothing, above all not the library's key", left, err)
	}
}

// checkTourReport compares what the task found.
func checkTourReport(t *testing.T, file, sources string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if token, _ := got["token"].(string); strings.Count(token, ".") != 2 {
		t.Errorf("the token of the system connection is %q", token)
	}
	delete(got, "token")
	want := map[string]any{
		"loud": true, "list": []any{"a", " b"}, "file": filepath.Join(sources, "sub/file.txt"), "filePathSupplied": true, "missing": nil,
		"url": "https://generic.example/", "scheme": "Token", "parameter": "t0ken-of-the-endpoint", "data": "north",
		"authorization": map[string]any{"scheme": "Token", "parameters": map[string]any{"apitoken": "t0ken-of-the-endpoint"}},
		"ticket":        "t1cket-of-the-file", "fileName": "id_rsa", "plain": "World", "hidden": "h1dden-value", "status": "Succeeded",
		"info":  []any{map[string]any{"name": "hidden.value", "value": "h1dden-value", "secret": true}},
		"agent": 0.0, "platform": 2.0, "started": "before World", "leaked": []any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the task found (-want +got):\n%s", diff)
	}
}

// checkTourLogs compares what the steps show, and that no secret is among it.
func checkTourLogs(t *testing.T, r job.Report) {
	t.Helper()
	for name, lines := range map[string][]string{
		"Pre-job: Tour":  nil,
		"Tour":           {"Hello World", "said by a tool", "World", "the tool ended with 0", "hidden: *** and ***", "##[warning]something to look at"},
		"After":          {"later: one line; with %25 and ] signs", "open: output-of-the-task, declared: declared-of-the-task", "hush: ***", "18 letters"},
		"Post-job: Tour": {"note: kept for later, started: before World", "whisper has 19 letters"},
	} {
		log := record(t, r, name).Log
		for _, line := range lines {
			if !slices.Contains(log, line) {
				t.Errorf("the log of %s lacks %q:\n%s", name, line, strings.Join(log, "\n"))
			}
		}
		if all := strings.Join(log, "\n"); strings.Contains(all, "not shown") || strings.Contains(all, "##vso") {
			t.Errorf("the log of %s shows what is not for people:\n%s", name, all)
		}
	}
	if log := strings.Join(record(t, r, "After").Log, "\n"); !strings.Contains(log, "path: /opt/of-the-task:") {
		t.Errorf("the path of the task is not in front:\n%s", log)
	}
	if r.Outputs["tour.open"] != "output-of-the-task" || r.Outputs["tour.declared"] != "declared-of-the-task" {
		t.Errorf("outputs = %v", r.Outputs)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cret-of-the-task", "wh1sper-of-the-task", "h1dden-value", "t0ken-of-the-endpoint", "t1cket-of-the-file"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the report shows %s", secret)
		}
	}
}

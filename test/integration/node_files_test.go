package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// What one task leaves of the library, the other uses: files, tools, results, and
// everything that is not there.
func TestATaskWorksWithFilesToolsAndResults(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	ref, err := s.OfferTask(t.Context(), packTask(t, filepath.Join("testdata", "files")))
	if err != nil {
		t.Fatal(err)
	}
	startAgent(t, s, stage.AgentOptions{Env: append(slices.Clone(alone),
		"HTTPS_PROXY=http://someone:pr0xy-passw0rd@proxy.internal.example:3128", "NO_PROXY=.internal.example")})
	report := filepath.Join(s.Dir, "files.json")
	step := func(name, fail string) job.Step {
		return job.Step{
			ID: job.NewRecordID(), Name: name, DisplayName: name, Reference: ref, Condition: "succeeded()",
			Inputs: map[string]string{"report": report, "fail": fail},
		}
	}
	j, err := s.QueueMessage(t.Context(), tourMessage([]job.Step{step("good", "false"), step("bad", "true")}))
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	good, bad := record(t, r, "good"), record(t, r, "bad")
	if r.Result != job.Failed || good.Result != job.Succeeded || bad.Result != job.Failed {
		dumpLog(t, r)
		t.Fatalf("job %s, steps %s and %s; want failed, succeeded and failed", r.Result, good.Result, bad.Result)
	}
	checkFilesReport(t, report, filepath.Join(s.Dir, "stage", "work", "1", "s"))
	for _, c := range []struct{ record, line string }{
		{"good", "out"},
		{"good", "err"},
		{"good", "##[error]an error that says where it comes from"},
		{"bad", "##[error]as it was told"},
		{"Post-job: bad", "the job is Failed"},
		{"Post-job: good", "the job is Failed"},
	} {
		if log := record(t, r, c.record).Log; !slices.Contains(log, c.line) {
			t.Errorf("the log of %s lacks %q:\n%s", c.record, c.line, strings.Join(log, "\n"))
		}
	}
	if last, first := record(t, r, "Post-job: good").Order, record(t, r, "Post-job: bad").Order; last < first {
		t.Errorf("the post-job parts came in the order of their steps: %d before %d", last, first)
	}
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), "pr0xy-passw0rd") {
		t.Errorf("the report shows the proxy's password, or cannot be written: %v", err)
	}
}

func checkFilesReport(t *testing.T, file, sources string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	missing, _ := got["missing"].(map[string]any)
	for name, want := range map[string]string{
		"tool": "no-such-tool-anywhere", "path": "/no/such/path", "connection": "none", "input": "nothing",
	} {
		if text, _ := missing[name].(string); !strings.Contains(text, want) || strings.HasPrefix(text, "returned") {
			t.Errorf("a missing %s is answered with %q, want a refusal that names %s", name, text, want)
		}
	}
	if missing["file"] != nil || missing["fileName"] != nil {
		t.Errorf("a secure file that the step does not name is there: %v", missing)
	}
	delete(got, "missing")
	if version, _ := got["version"].(string); strings.Count(version, ".") != 2 {
		t.Errorf("the agent's version is %q", version)
	}
	delete(got, "version")
	proxy, _ := got["proxy"].(map[string]any)
	if proxy["proxyUrl"] != "http://proxy.internal.example:3128" || proxy["proxyUsername"] != "someone" || proxy["proxyPassword"] != "pr0xy-passw0rd" {
		t.Errorf("the proxy is %v", proxy)
	}
	delete(got, "proxy")
	want := map[string]any{
		"found": []any{".hidden.txt", "a.txt", "sub/c.txt"}, "copied": []any{"moved.txt", "sub", "sub/deep", "sub/deep/d.txt"},
		"left": []any{"moved.txt"}, "inside": true, "code": 3.0, "failed": got["failed"],
		"sync": map[string]any{"code": 0.0, "out": "one", "err": "two"}, "folder": sources, "supplied": false,
		"direct": nil, "certificate": nil, "correlation": nil, "tools": true,
	}
	if text, _ := got["failed"].(string); !strings.Contains(text, "exit code 4") {
		t.Errorf("a tool that ended with 4 is told as %q", text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the task found (-want +got):\n%s", diff)
	}
}

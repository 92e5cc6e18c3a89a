package pipeline

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// start is when every run of the tests starts.
var start = time.Date(2026, time.August, 22, 9, 5, 7, 0, time.UTC)

// testOptions are those of a run of the main branch.
func testOptions() Options {
	return Options{
		Repository: Repository{
			ID: "5b0d3c54-7d8e-4a1a-a2c5-8d7c6b5a4f33", Name: "web", URL: "https://example.test/shop/_git/web", Ref: "refs/heads/main",
			DefaultBranch: "refs/heads/main", Commit: "2f1c9b7a5d3e8c6b4a2f0e1d3c5b7a9f8e6d4c2b", Author: "A. Author", Message: "bump base image\n\nmore",
		},
		Variables:    map[string]job.Variable{"password": {Value: "hunter2", IsSecret: true}},
		RequestedFor: "A. Author", BuildID: 501, Now: start,
	}
}

// load loads text as azure-pipelines.yml and fails the test on an error.
func load(t *testing.T, text string, options Options) *Pipeline {
	t.Helper()
	p, err := Load(Source{File: "azure-pipelines.yml", Content: []byte(text)}, options)
	if err != nil {
		t.Fatalf("Load:\n%v\nof\n%s", err, text)
	}
	return p
}

// newRun starts a run with a fixed plan.
func newRun(t *testing.T, p *Pipeline) *Run {
	t.Helper()
	r, err := NewRun(p, RunOptions{PlanID: "8c5f0b6e-2b57-4c1c-9d0e-6a3a0f0e7a11"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestMessagesOfTheShopPipeline(t *testing.T) {
	text, err := os.ReadFile("testdata/shop.yml")
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(t, load(t, string(text), testOptions()))
	build := onlyReady(t, r)
	golden(t, "shop.build.json", marshal(t, build.Message()))
	if err := r.Finish(build.ID, job.Succeeded, map[string]string{"out.digest": "sha256:1"}); err != nil {
		t.Fatal(err)
	}
	test := onlyReady(t, r)
	golden(t, "shop.test.json", marshal(t, test.Message()))
	if err := r.Finish(test.ID, job.SucceededWithIssues, nil); err != nil {
		t.Fatal(err)
	}
	if got := r.Result(); !r.Done() || got != job.SucceededWithIssues {
		t.Errorf("Done() = %v, Result() = %s, want true, succeededWithIssues", r.Done(), got)
	}
}

func onlyReady(t *testing.T, r *Run) *Job {
	t.Helper()
	ready := r.Ready()
	if len(ready) != 1 {
		t.Fatalf("Ready() returned %d jobs, want 1; all: %+v", len(ready), r.Jobs())
	}
	return ready[0]
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

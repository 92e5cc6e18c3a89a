package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// TestEveryExampleReplays runs the pipeline of each folder below examples/ as
// its reader would. A folder without a pipeline fails it: nobody would run its
// files.
func TestEveryExampleReplays(t *testing.T) {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadDir(filepath.Join(root, "examples"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("listing the examples: %v", err)
	}
	s := openStage(t, stage.Options{})
	for _, e := range examples {
		t.Run(e.Name(), func(t *testing.T) {
			repo, pipeline, err := s.Repository(t.Context(), e.Name(), filepath.Join(root, "examples", e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if pipeline == nil {
				t.Fatalf("examples/%s has no azure-pipelines.yml, so nothing runs its files", e.Name())
			}
			file := filepath.Join(t.TempDir(), "report.json")
			f := s.typed(t, "replay", repo, nil, "replay", "--param", "registry="+s.Registry.Addr(), "--report", file, "--output", "plain").want(t, 0)
			var r job.Report
			if err := json.Unmarshal([]byte(read(t, file)), &r); err != nil {
				t.Fatal(err)
			}
			if r.Result != job.Succeeded {
				t.Errorf("result of the report = %s, want succeeded\n%s", r.Result, f.stdout)
			}
			steps := 0
			for _, rec := range r.Records {
				if rec.Type != job.TypeTask {
					continue
				}
				steps++
				if rec.Result != job.Succeeded || len(rec.Log) == 0 || !strings.Contains(f.stdout, rec.Name) {
					t.Errorf("step %s = %s with %d lines; want succeeded, a log, and its name on the screen", rec.Name, rec.Result, len(rec.Log))
				}
			}
			if steps == 0 || len(r.Builds) == 0 || r.Builds[0].Digest == "" {
				t.Errorf("the report has %d steps and the builds %+v", steps, r.Builds)
			}
			if left := containersOf(t, s); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

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

// TestEveryExampleRuns runs the pipeline of each folder below examples/ as its
// reader would: by an agent, again on an emptied builder, and in a replay. A
// folder without a pipeline fails it, because nobody would run its files.
func TestEveryExampleRuns(t *testing.T) {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadDir(filepath.Join(root, "examples"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("listing the examples: %v", err)
	}
	s := openStage(t, stage.Options{})
	startAgent(t, s, stage.AgentOptions{})
	for _, e := range examples {
		if e.Name() == "probe" {
			continue // the tests of package probe run its programs
		}
		t.Run(e.Name(), func(t *testing.T) {
			repo, pipeline, err := s.Repository(t.Context(), e.Name(), filepath.Join(root, "examples", e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if pipeline == nil {
				t.Fatalf("examples/%s has no azure-pipelines.yml, so nothing runs its files", e.Name())
			}
			runByAgent(t, s, repo, pipeline)
			replay(t, s, repo)
			// What was pushed can be pulled and run.
			if e.Name() == "shop" {
				image := s.Registry.Addr() + "/shop:latest"
				out, err := s.Podman.Command(t.Context(), "run", "--rm", image).CombinedOutput()
				if err == nil || !strings.Contains(string(out), "SHOP_DSN is empty") {
					t.Errorf("running the pushed image = %v, %s, want its own complaint about SHOP_DSN", err, out)
				}
			}
		})
	}
}

// runByAgent runs the pipeline twice and empties the builder after each run, so
// that what the second finds cached came from the registry.
func runByAgent(t *testing.T, s testStage, repo string, pipeline []byte) {
	t.Helper()
	params := map[string]string{"registry": s.Registry.Addr()}
	for _, run := range []struct {
		name       string
		leastShare float64
	}{{"cold", 0}, {"warm", 0.8}} {
		r := finish(t, s, queue(t, s, string(pipeline), repo, params))
		if r.Result != job.Succeeded {
			dumpLog(t, r)
			t.Fatalf("the %s run ended as %s, want succeeded", run.name, r.Result)
		}
		if len(r.Builds) != 1 || r.Builds[0].Steps == 0 {
			t.Fatalf("builds of the %s run = %+v, want one with steps", run.name, r.Builds)
		}
		b := r.Builds[0]
		t.Logf("%s: %d of %d steps cached, %.1f s", run.name, b.Cached, b.Steps, b.Seconds)
		if share := float64(b.Cached) / float64(b.Steps); share < run.leastShare {
			t.Errorf("%d of %d steps of the %s run were cached, want at least %.0f %%", b.Cached, b.Steps, run.name, 100*run.leastShare)
		}
		if left := containersOf(t, s); len(left) != 0 {
			t.Errorf("left behind by the %s run: %q", run.name, left)
		}
		if err := s.Buildkitd.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// replay runs the pipeline of a repository without a server and reads its report.
func replay(t *testing.T, s testStage, repo string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	f := s.typed(t, "replay", repo, nil, "replay", "--param", "registry="+s.Registry.Addr(), "--report", file, "--output", "plain").want(t, 0)
	var r job.Report
	if err := json.Unmarshal([]byte(read(t, file)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Result != job.Succeeded {
		t.Errorf("result of the replay's report = %s, want succeeded\n%s", r.Result, f.stdout)
	}
	steps := 0
	for _, rec := range r.Records {
		if rec.Type != job.TypeTask {
			continue
		}
		steps++
		if rec.Result != job.Succeeded || len(rec.Log) == 0 || !strings.Contains(f.stdout, rec.Name) {
			t.Errorf("step %s of the replay = %s with %d lines; want succeeded, a log, and its name on the screen", rec.Name, rec.Result, len(rec.Log))
		}
	}
	if steps == 0 || len(r.Builds) == 0 || r.Builds[0].Digest == "" {
		t.Errorf("the replay's report has %d steps and the builds %+v", steps, r.Builds)
	}
	if left := containersOf(t, s); len(left) != 0 {
		t.Errorf("left behind by the replay: %q", left)
	}
}

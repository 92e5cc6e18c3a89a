package runner

import (
	"archive/zip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/artifactdir"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/artifacttasks"
	"github.com/dockless-ci/dockless/runner/internal/filetasks"
	"github.com/dockless-ci/dockless/runner/internal/mounts"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// linked is a step of a job with containers, of which one has put links into the
// workspace.
type linked struct {
	step.Step

	x      *execution
	inputs map[string]string
}

func (s linked) Text(name, otherwise string) string {
	if v, ok := job.Lookup(s.inputs, name); ok && v != "" {
		return v
	}
	return otherwise
}

func (s linked) Truth(name string, otherwise bool) bool {
	return s.Text(name, fmt.Sprint(otherwise)) == "true"
}

func (s linked) Given(name string) bool              { _, ok := job.Lookup(s.inputs, name); return ok }
func (s linked) Variable(string) string              { return s.x.folders.pipeline }
func (s linked) Open(path string) (*os.File, error)  { return os.Open(path) }
func (s linked) Temp() string                        { return s.x.folders.temp }
func (s linked) SetOutput(string, string) error      { return nil }
func (s linked) Print(string)                        {}
func (s linked) Warning(string)                      {}
func (s linked) Error(error)                         {}
func (s linked) Path(value string) string            { return filepath.Join(s.x.folders.pipeline, value) }
func (s linked) Target(in, v string) (string, error) { return s.x.target(in, s.absolute(v)) }
func (s linked) absolute(v string) string {
	if filepath.IsAbs(v) {
		return v
	}
	return s.Path(v)
}

// workspace makes one with links out of it, and a directory of the agent that has
// credentials.
func workspace(t *testing.T) (s linked, agents string) {
	t.Helper()
	dir := t.TempDir()
	agents = filepath.Join(dir, "home", ".docker")
	x := &execution{folders: folders{pipeline: filepath.Join(dir, "jobs", "1"), temp: filepath.Join(dir, "jobs", "_temp")}}
	for _, d := range []string{agents, filepath.Join(x.folders.pipeline, "s"), filepath.Join(x.folders.pipeline, "real"), x.folders.temp, filepath.Join(dir, "jobs", "externals")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The work folder itself may be a link of the operator's.
	if err := os.Symlink("jobs", filepath.Join(dir, "w")); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*string{&x.folders.pipeline, &x.folders.temp} {
		*f = strings.Replace(*f, "/jobs/", "/w/", 1)
	}
	x.sees = mounts.Table{
		{Host: x.folders.pipeline, Inside: "/__w/1"},
		{Host: x.folders.temp, Inside: "/__w/_temp"},
		{Host: filepath.Join(dir, "w", "externals"), Inside: "/__e", ReadOnly: true},
	}
	files := map[string]string{filepath.Join(agents, "config.json"): "secret", filepath.Join(x.folders.pipeline, "s", "config.json"): "evil"}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"out": agents, "inner": "real", "nowhere": filepath.Join(agents, "new"), "real/config.json": filepath.Join(agents, "config.json"),
		"tools": filepath.Join(dir, "w", "externals"),
	} {
		if err := os.Symlink(to, filepath.Join(x.folders.pipeline, name)); err != nil {
			t.Fatal(err)
		}
	}
	return linked{x: x}, agents
}

func TestWhereABuiltInWritesIsWhereContainersCan(t *testing.T) {
	s, agents := workspace(t)
	for path, ok := range map[string]bool{
		"": true, "s": true, "s/new/deep": true, "inner": true, "inner/new": true, filepath.Join(s.x.folders.temp, "x"): true,
		"out": false, "out/new/deep": false, "nowhere": false, "nowhere/x": false, "real/config.json": false, "inner/config.json": false,
		"tools": false, "..": false, agents: false, "/": false, "s/config.json/x": false,
	} {
		got, err := s.Target("TargetFolder", path)
		if ok != (err == nil) || ok && got != s.absolute(path) {
			t.Errorf("Target(%q) = %q, %v; want it to be allowed: %t", path, got, err, ok)
		}
		if err != nil && (!strings.Contains(err.Error(), "TargetFolder") || !strings.Contains(err.Error(), s.absolute(path))) {
			t.Errorf("%v: want an error that names the input and the path", err)
		}
	}
	if _, err := s.Target("TargetFolder", "out"); err == nil || !strings.Contains(err.Error(), agents) || len(hint.All(err)) == 0 {
		t.Errorf("%v: want an error that names where the link leads, with a hint", err)
	}
	s.x.sees = nil // without containers the job's user is the agent's anyway
	if got, err := s.Target("TargetFolder", agents); err != nil || got != agents {
		t.Errorf("without containers: %q, %v", got, err)
	}
}

func TestBuiltInsDoNotWriteThroughLinksOfContainers(t *testing.T) {
	run := func(t *testing.T, s linked) artifacttasks.Run {
		r := artifacttasks.Run{RunReference: job.RunReference{Build: 7}, Container: 7, Service: artifactdir.New(t.TempDir(), 7, "")}
		c, err := artifacttasks.Collect(t.Context(), s.Path("s"), os.Open, nil)
		if err == nil {
			err = r.Publish(t.Context(), "out", "out", c, nil, s.Temp(), s.Print)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	download := func(task func(context.Context, step.Step, artifacttasks.Run) error) func(*testing.T, linked) error {
		return func(t *testing.T, s linked) error { return task(t.Context(), s, run(t, s)) }
	}
	files := func(task step.Func) func(*testing.T, linked) error {
		return func(t *testing.T, s linked) error { return task(t.Context(), s) }
	}
	for name, c := range map[string]struct {
		task   func(*testing.T, linked) error
		inputs map[string]string
		input  string // that the error names
	}{
		"CopyFiles":                       {files(filetasks.Copy), map[string]string{"SourceFolder": "s", "Contents": "**", "TargetFolder": "out", "OverWrite": "true", "CleanTargetFolder": "true"}, "TargetFolder"},
		"CopyFiles onto a link":           {files(filetasks.Copy), map[string]string{"SourceFolder": "s", "Contents": "**", "TargetFolder": "real", "OverWrite": "true"}, "TargetFolder"},
		"DeleteFiles":                     {files(filetasks.Delete), map[string]string{"SourceFolder": "out", "Contents": "**"}, "SourceFolder"},
		"ArchiveFiles":                    {files(filetasks.Archive), map[string]string{"rootFolderOrFile": "s", "archiveFile": "out/a.zip"}, "archiveFile"},
		"ExtractFiles":                    {files(filetasks.Extract), map[string]string{"archiveFilePatterns": "a.zip", "destinationFolder": "out"}, "destinationFolder"},
		"DownloadPipelineArtifact":        {download(artifacttasks.DownloadPipeline), map[string]string{"artifact": "out", "path": "out"}, "path"},
		"DownloadPipelineArtifact of all": {download(artifacttasks.DownloadPipeline), map[string]string{"path": "."}, "path"},
		"DownloadBuildArtifacts":          {download(artifacttasks.DownloadBuild), map[string]string{"artifactName": "out", "downloadPath": "."}, "downloadPath"},
		"DownloadBuildArtifacts, cleaned": {download(artifacttasks.DownloadBuild), map[string]string{"artifactName": "out", "downloadPath": "out", "cleanDestinationFolder": "true"}, "downloadPath"},
		"download":                        {download(artifacttasks.DownloadAlias), map[string]string{"artifact": "out"}, "path"},
	} {
		t.Run(name, func(t *testing.T) {
			s, agents := workspace(t)
			archive, err := os.Create(s.Path("a.zip"))
			if err == nil {
				err = zip.NewWriter(archive).Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = archive.Close() // empty as it is
			s.inputs = c.inputs
			if err := c.task(t, s); err == nil || !strings.Contains(err.Error(), "the input "+c.input+": ") {
				t.Errorf("the task = %v, want an error that names the input %s", err, c.input)
			}
			text, err := os.ReadFile(filepath.Join(agents, "config.json"))
			left, _ := fs.Glob(os.DirFS(agents), "*")
			if err != nil || string(text) != "secret" || len(left) != 1 {
				t.Errorf("the agent's file is %q, %v, beside %q", text, err, left)
			}
		})
	}
}

package artifacttasks_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/artifacttasks"
)

func TestAnArtifactWithoutANameIsCalledAfterItsJob(t *testing.T) {
	for identifier, want := range map[string]string{
		"Job.__default": "Job", "build_linux.__default": "buildlinux", "stage.job.leg-1": "stage.job.leg1", "A b.C": "A b.C", "Job.__default.x": "Job.default.x",
	} {
		if got := artifacttasks.DefaultName(identifier); got != want {
			t.Errorf("DefaultName(%q) = %q, want %q", identifier, got, want)
		}
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", `a\b`, "a:b", "a*", "a?", `a"b`, "a<b", "a>b", "a|b", "a\nb", "\x01"} {
		s := newStep(t, map[string]string{"artifactName": name, "path": "."})
		s.variables["system.jobIdentifier"] = "___"
		if err := artifacttasks.PublishPipeline(t.Context(), s, newRun(t)); err == nil || !strings.Contains(err.Error(), "name") {
			t.Errorf("publishing as %q = %v, want an error about the name", name, err)
		}
	}
}

// roundTrip publishes a folder and downloads it with the given inputs.
func roundTrip(t *testing.T, published *fakeStep, inputs map[string]string) map[string]string {
	t.Helper()
	r := newRun(t)
	if err := artifacttasks.PublishPipeline(t.Context(), published, r); err != nil {
		t.Fatal(err)
	}
	s := newStep(t, inputs)
	if err := artifacttasks.DownloadPipeline(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	if s.outputs["BuildNumber"] != "7" {
		t.Errorf("outputs %v, want the run's id", s.outputs)
	}
	return list(t, s.dir)
}

func TestAFolderIsPublishedWithoutWhatIsLeftOut(t *testing.T) {
	s := newStep(t, map[string]string{"targetPath": "out", "artifact": "site"})
	for name, text := range map[string]string{"out/index": "i", "out/.git/config": "g", "out/sub/.gitignore": "kept", "out/sub/.git/x": "g", "other": "o", "out/.dot": "d"} {
		write(t, filepath.Join(s.dir, name), text)
	}
	if err := os.Symlink("../other", filepath.Join(s.dir, "out/link")); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"index": "i", "sub/.gitignore": "kept", ".dot": "d", "link": "o"}
	if diff := cmp.Diff(want, roundTrip(t, s, map[string]string{"artifact": "SITE"})); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	write(t, filepath.Join(s.dir, "out", ".artifactignore"), "**/*\n!index\n!.git/**")
	want = map[string]string{"site/index": "i"}
	if diff := cmp.Diff(want, roundTrip(t, s, map[string]string{"patterns": "**"})); diff != "" {
		t.Errorf("files with a list (-want +got):\n%s", diff)
	}
}

func TestASingleFileKeepsItsName(t *testing.T) {
	s := newStep(t, map[string]string{"path": "out/app.zip", "artifactName": "a"})
	write(t, filepath.Join(s.dir, "out/app.zip"), "zip")
	if diff := cmp.Diff(map[string]string{"x/app.zip": "zip"}, roundTrip(t, s, map[string]string{"artifact": "a", "path": "x"})); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestPatternsChooseWhatIsDownloaded(t *testing.T) {
	r := newRun(t)
	for _, name := range []string{"one", "two"} {
		s := newStep(t, map[string]string{"path": ".", "artifactName": name})
		for _, file := range []string{"a.txt", "b.bin", "sub/c.txt"} {
			write(t, filepath.Join(s.dir, file), name)
		}
		if err := artifacttasks.PublishPipeline(t.Context(), s, r); err != nil {
			t.Fatal(err)
		}
	}
	names := func(files map[string]string) string {
		return strings.Join(slices.Sorted(maps.Keys(files)), " ")
	}
	for _, c := range []struct {
		task   func(context.Context, *fakeStep) error
		inputs map[string]string
		want   string
	}{
		{pipeline(r), map[string]string{"artifact": "one", "patterns": "*.txt"}, "a.txt"},
		{pipeline(r), map[string]string{"artifact": "one", "patterns": "**/*.txt\n!sub/**"}, "a.txt"},
		{pipeline(r), map[string]string{"patterns": "two/**/*.txt"}, "two/a.txt two/sub/c.txt"},
		{pipeline(r), map[string]string{"patterns": "**", "path": "p"}, "p/one/a.txt p/one/b.bin p/one/sub/c.txt p/two/a.txt p/two/b.bin p/two/sub/c.txt"},
		{buildTask(r), map[string]string{"artifactName": "one"}, "a/one/a.txt a/one/b.bin a/one/sub/c.txt"},
		{buildTask(r), map[string]string{"artifactName": "one", "itemPattern": "one/*.bin", "downloadPath": "d"}, "d/one/b.bin"},
		{buildTask(r), map[string]string{"downloadType": "specific", "itemPattern": "*/sub/**", "parallelizationLimit": "1"}, "a/one/sub/c.txt a/two/sub/c.txt"},
		{zero(r), map[string]string{"artifactName": "two", "targetPath": "z"}, "z/a.txt z/b.bin z/sub/c.txt"},
		{alias(r), map[string]string{"alias": "current", "artifact": "one", "patterns": "a*"}, "one/a.txt"},
		{alias(r), map[string]string{"alias": "current", "patterns": "*/a*"}, "one/a.txt two/a.txt"},
	} {
		s := newStep(t, c.inputs)
		if err := c.task(t.Context(), s); err != nil {
			t.Errorf("%v: %v", c.inputs, err)
			continue
		}
		if got := names(list(t, s.dir)); got != c.want {
			t.Errorf("%v: %s, want %s", c.inputs, got, c.want)
		}
	}
}

func pipeline(r artifacttasks.Run) func(context.Context, *fakeStep) error {
	return func(ctx context.Context, s *fakeStep) error { return artifacttasks.DownloadPipeline(ctx, s, r) }
}

func buildTask(r artifacttasks.Run) func(context.Context, *fakeStep) error {
	return func(ctx context.Context, s *fakeStep) error { return artifacttasks.DownloadBuild(ctx, s, r) }
}

func zero(r artifacttasks.Run) func(context.Context, *fakeStep) error {
	return func(ctx context.Context, s *fakeStep) error { return artifacttasks.DownloadPipelineV0(ctx, s, r) }
}

func alias(r artifacttasks.Run) func(context.Context, *fakeStep) error {
	return func(ctx context.Context, s *fakeStep) error { return artifacttasks.DownloadAlias(ctx, s, r) }
}

func TestBadInputsNameThemselves(t *testing.T) {
	r := newRun(t)
	for _, c := range []struct {
		task   func(context.Context, *fakeStep) error
		inputs map[string]string
		want   string
	}{
		{pipeline(r), map[string]string{"artifact": "none"}, `has no artifact "none"`},
		{pipeline(r), map[string]string{"source": "elsewhere"}, "source"},
		{pipeline(r), map[string]string{"source": "specific", "runVersion": "specific", "runId": "x"}, "runId"},
		{pipeline(r), map[string]string{"source": "specific", "runVersion": "newest", "pipeline": "1"}, "runVersion"},
		{pipeline(r), map[string]string{"source": "specific"}, "pipeline"},
		{buildTask(r), map[string]string{}, "artifactName"},
		{buildTask(r), map[string]string{"artifactName": "a", "retryDownloadCount": "-1"}, "retryDownloadCount"},
		{buildTask(r), map[string]string{"artifactName": "a", "parallelizationLimit": "many"}, "parallelizationLimit"},
		{alias(r), map[string]string{"alias": "upstream"}, "upstream"},
		{publish(r), map[string]string{"path": "nothing", "artifactName": "a"}, "does not exist"},
		{publish(r), map[string]string{"path": ".", "artifactName": "a", "properties": "{"}, "properties"},
		{publish(r), map[string]string{"path": ".", "artifactName": "a", "properties": `{"mine": "1"}`}, "mine"},
		{publish(r), map[string]string{"path": ".", "artifactName": "a", "publishLocation": "filepath", "fileSharePath": `\\share\x`}, "share"},
		{publishBuild(r), map[string]string{"PathtoPublish": "nothing"}, "does not exist"},
		{publishBuild(r), map[string]string{"PathtoPublish": ".", "ArtifactName": "a+b"}, "a+b"},
		{publishBuild(r), map[string]string{"PathtoPublish": ".", "ArtifactType": "ftp"}, "publishLocation"},
		{publishBuild(r), map[string]string{"PathtoPublish": ".", "MaxArtifactSize": "1"}, "MaxArtifactSize"},
		{publishBuild(r), map[string]string{"PathtoPublish": ".", "MaxArtifactSize": "-"}, "MaxArtifactSize"},
	} {
		s := newStep(t, c.inputs)
		write(t, filepath.Join(s.dir, "file"), "some")
		if err := c.task(t.Context(), s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v = %v, want an error with %q", c.inputs, err, c.want)
		}
	}
}

func publish(r artifacttasks.Run) func(context.Context, *fakeStep) error {
	return func(ctx context.Context, s *fakeStep) error { return artifacttasks.PublishPipeline(ctx, s, r) }
}

func publishBuild(r artifacttasks.Run) func(context.Context, *fakeStep) error {
	return func(ctx context.Context, s *fakeStep) error { return artifacttasks.PublishBuild(ctx, s, r) }
}

func TestWhatCannotBePublishedFailsTheWhole(t *testing.T) {
	for name, make := range map[string]func(dir string) error{
		"a link to nowhere": func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "x")) },
		"a pipe":            func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "x"), 0o600) },
		"a hidden file":     func(dir string) error { return os.WriteFile(filepath.Join(dir, "hidden"), nil, 0o600) },
	} {
		s := newStep(t, map[string]string{"path": ".", "artifactName": "a"})
		if err := make(s.dir); err != nil {
			t.Fatal(err)
		}
		r := newRun(t)
		if err := artifacttasks.PublishPipeline(t.Context(), s, r); err == nil {
			t.Errorf("%s was published", name)
		}
		if all, err := r.Service.Artifacts(t.Context(), r.RunReference); err != nil || len(all) > 0 {
			t.Errorf("%s: artifacts %v, %v", name, all, err)
		}
	}
}

func TestNothingIsNoPipelineArtifact(t *testing.T) {
	s, r := newStep(t, map[string]string{"path": ".", "artifactName": "a"}), newRun(t)
	if err := artifacttasks.PublishPipeline(t.Context(), s, r); err != nil || len(s.warnings) != 1 {
		t.Errorf("PublishPipeline = %v, warnings %q; want one", err, s.warnings)
	}
}

func TestPropertiesGoOntoTheArtifact(t *testing.T) {
	s, r := newStep(t, map[string]string{"path": ".", "artifactName": "a", "properties": `{"user-a": "1", "user-b": 2}`}), newRun(t)
	write(t, filepath.Join(s.dir, "f"), "12345")
	if err := artifacttasks.PublishPipeline(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	all, err := r.Service.Artifacts(t.Context(), r.RunReference)
	if len(all) != 1 || !regexp.MustCompile(`^#/77/a-[a-z2-7]{8}$`).MatchString(all[0].Resource.Data) {
		t.Fatalf("artifacts %+v, %v", all, err)
	}
	want := []job.Artifact{{ID: 1, Name: "a", Source: "j", Resource: job.ArtifactResource{
		Type: "Container", Data: all[0].Resource.Data, Properties: map[string]string{"user-a": "1", "user-b": "2", "artifactsize": "5"},
	}}}
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("artifacts (-want +got), %v:\n%s", err, diff)
	}
}

func TestAMountedShareWorksInBothDirections(t *testing.T) {
	share, r := t.TempDir(), newRun(t)
	s := newStep(t, map[string]string{"path": ".", "artifactName": "a", "artifactType": "filepath", "fileSharePath": share})
	write(t, filepath.Join(s.dir, "sub/f"), "1")
	if err := artifacttasks.PublishPipeline(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a/sub/f": "1"}, list(t, share)); diff != "" {
		t.Errorf("the share (-want +got):\n%s", diff)
	}
	d := newStep(t, map[string]string{"artifactName": "a"})
	if err := artifacttasks.DownloadBuild(t.Context(), d, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a/a/sub/f": "1"}, list(t, d.dir)); diff != "" {
		t.Errorf("downloaded (-want +got):\n%s", diff)
	}
}

func TestBuildArtifactsArePublishedByACommand(t *testing.T) {
	r := newRun(t)
	s := newStep(t, map[string]string{"PathtoPublish": "out"})
	write(t, filepath.Join(s.dir, "out/f"), "1")
	if err := artifacttasks.PublishBuild(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	if want := []string{"artifact.upload drop drop " + filepath.Join(s.dir, "out")}; !cmp.Equal(s.commands, want) {
		t.Errorf("commands %q, want %q", s.commands, want)
	}
	s.variables["system.hosttype"] = "release"
	if err := artifacttasks.PublishBuild(t.Context(), s, r); err == nil || !strings.Contains(err.Error(), "release") {
		t.Errorf("in a release = %v", err)
	}
}

func TestATarKeepsPrograms(t *testing.T) {
	r := newRun(t)
	s := newStep(t, map[string]string{"PathtoPublish": "out", "StoreAsTar": "true", "ArtifactName": "tools"})
	write(t, filepath.Join(s.dir, "out/bin/tool"), "#!")
	if err := os.Symlink("bin/tool", filepath.Join(s.dir, "out/link")); err != nil {
		t.Fatal(err)
	}
	if err := artifacttasks.PublishBuild(t.Context(), s, r); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(s.temp, "tools.tar")
	if len(s.commands) != 1 || !strings.HasSuffix(s.commands[0], " "+archive) {
		t.Fatalf("commands %q, want one for %s", s.commands, archive)
	}
	c, err := artifacttasks.Collect(t.Context(), archive, os.Open, nil)
	if err == nil {
		err = r.Publish(t.Context(), "tools", "tools", c, nil, s.temp, s.Print)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := newStep(t, map[string]string{"artifactName": "tools", "extractTars": "true", "cleanDestinationFolder": "true"})
	write(t, filepath.Join(d.dir, "a/old"), "goes away")
	if err := artifacttasks.DownloadBuild(t.Context(), d, r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a/tools/bin/tool": "#!", "a/tools/link": "#!"}, list(t, d.dir)); diff != "" {
		t.Errorf("extracted (-want +got):\n%s", diff)
	}
	if info, err := os.Lstat(filepath.Join(d.dir, "a/tools/bin/tool")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the tool is %v, %v", info, err)
	}
}

// hostile answers with artifacts that want to be written elsewhere.
type hostile struct {
	artifacttasks.Service

	artifact job.Artifact
	files    []job.ContainerFile
	fetch    func(io.Writer) error
}

func (h hostile) Artifacts(context.Context, job.RunReference) ([]job.Artifact, error) {
	return []job.Artifact{h.artifact}, nil
}

func (h hostile) Files(context.Context, job.RunReference, job.Artifact) ([]job.ContainerFile, error) {
	return h.files, nil
}

func (h hostile) Fetch(_ context.Context, _ job.RunReference, _ job.Artifact, _ string, to io.Writer) error {
	return h.fetch(to)
}

func container(name string) job.Artifact {
	return job.Artifact{Name: name, Resource: job.ArtifactResource{Type: "container", Data: "#/1/x"}}
}

func TestADownloadStaysInItsDirectory(t *testing.T) {
	content := func(to io.Writer) error { _, err := io.WriteString(to, "evil"); return err }
	for name, h := range map[string]hostile{
		"a name that goes up": {artifact: container(".."), files: []job.ContainerFile{{Path: "f", Size: 4}}},
		"a path that goes up": {artifact: container("a"), files: []job.ContainerFile{{Path: "../../f", Size: 4}}},
		"an absolute path":    {artifact: container("a"), files: []job.ContainerFile{{Path: "/etc/f", Size: 4}}},
		"through a link":      {artifact: container("a"), files: []job.ContainerFile{{Path: "out/f", Size: 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			h.fetch = content
			r := newRun(t)
			r.Service = h
			s := newStep(t, map[string]string{"path": "deep/down"})
			write(t, filepath.Join(s.dir, "deep/down/a/keep"), "")
			if err := os.Symlink("../../..", filepath.Join(s.dir, "deep/down/a/out")); err != nil {
				t.Fatal(err)
			}
			if err := artifacttasks.DownloadPipeline(t.Context(), s, r); err == nil {
				t.Error("the download worked")
			}
			for file, text := range list(t, s.dir) {
				if text == "evil" {
					t.Errorf("written: %s", file)
				}
			}
		})
	}
}

func TestAFileIsThereWholeOrNotAtAll(t *testing.T) {
	broken := errors.New("the connection broke")
	r := newRun(t)
	r.Service = hostile{artifact: container("a"), files: []job.ContainerFile{{Path: "f", Size: 100}}, fetch: func(to io.Writer) error {
		_, _ = to.Write(bytes.Repeat([]byte("x"), 50))
		return broken
	}}
	s := newStep(t, map[string]string{"artifact": "a"})
	write(t, filepath.Join(s.dir, "f"), "as it was")
	if err := artifacttasks.DownloadPipeline(t.Context(), s, r); !errors.Is(err, broken) {
		t.Errorf("DownloadPipeline = %v", err)
	}
	if diff := cmp.Diff(map[string]string{"f": "as it was"}, list(t, s.dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestTheServicesOwnStoreIsNotReadAndSaysSo(t *testing.T) {
	r := newRun(t)
	r.Service = hostile{artifact: job.Artifact{Name: "a", Resource: job.ArtifactResource{Type: "PipelineArtifact", Data: "0123"}}}
	err := artifacttasks.DownloadPipeline(t.Context(), newStep(t, map[string]string{"artifact": "a"}), r)
	if err == nil || len(hint.All(err)) == 0 || !strings.Contains(err.Error(), "no public protocol") {
		t.Errorf("DownloadPipeline = %v, want an error with a hint", err)
	}
}

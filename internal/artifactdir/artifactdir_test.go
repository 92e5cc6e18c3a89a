package artifactdir_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/artifactdir"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

func file(t *testing.T, name, text string) job.UploadFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return job.UploadFile{Path: name, Open: func() (fs.File, error) { return os.Open(path) }}
}

func publish(t *testing.T, s *artifactdir.Store, build int, name string, files ...job.UploadFile) {
	t.Helper()
	run := job.RunReference{Build: build}
	if err := s.Upload(t.Context(), job.Upload{Run: run, Container: int64(build), Folder: name, Files: files}); err != nil {
		t.Fatal(err)
	}
	a := job.Artifact{Name: name, Resource: job.ArtifactResource{Type: job.ArtifactContainer, Data: job.ContainerLocation(int64(build), name)}}
	if _, err := s.Associate(t.Context(), run, a); err != nil {
		t.Fatal(err)
	}
}

// read returns the files of the only artifact of a run.
func read(t *testing.T, s *artifactdir.Store, run job.RunReference) map[string]string {
	t.Helper()
	artifacts, err := s.Artifacts(t.Context(), run)
	if err != nil || len(artifacts) != 1 {
		t.Fatalf("artifacts %+v, %v", artifacts, err)
	}
	files, err := s.Files(t.Context(), run, artifacts[0])
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, f := range files {
		var text bytes.Buffer
		if err := s.Fetch(t.Context(), run, artifacts[0], f.Path, &text); err != nil || int64(text.Len()) != f.Size {
			t.Errorf("fetching %+v: %d bytes, %v", f, text.Len(), err)
		}
		out[f.Path] = text.String()
	}
	return out
}

func TestASecondUploadOfANameAddsToTheFirst(t *testing.T) {
	runs := t.TempDir()
	s := artifactdir.New(runs, 7, "")
	if s.Dir() != "" {
		t.Errorf("without artifacts they are at %q", s.Dir())
	}
	publish(t, s, 7, "drop", file(t, "a/b", "old"), file(t, "c", "1"))
	publish(t, s, 7, "drop", file(t, "a/b", "new"), file(t, "d", "2"))
	if got := read(t, s, job.RunReference{Build: 7}); len(got) != 3 || got["a/b"] != "new" || got["c"] != "1" || got["d"] != "2" {
		t.Errorf("the artifact has %v", got)
	}
	info, err := os.Stat(filepath.Join(s.Dir(), "drop", "d"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the file is %v, %v; want a program", info, err)
	}
}

// With a directory of one's own every replay has the same folders.
func TestFilesOfAnEarlierRunDoNotStay(t *testing.T) {
	runs, dir := t.TempDir(), t.TempDir()
	publish(t, artifactdir.New(runs, 6, dir), 6, "drop", file(t, "old", "1"), file(t, "a", "1"))
	publish(t, artifactdir.New(runs, 6, dir), 6, "other", file(t, "mine", "1"))
	s := artifactdir.New(runs, 7, dir)
	publish(t, s, 7, "drop", file(t, "a", "2"))
	publish(t, s, 7, "drop", file(t, "b", "2"))
	if got := read(t, s, job.RunReference{Build: 7}); len(got) != 2 || got["a"] != "2" || got["b"] != "2" {
		t.Errorf("the artifact has %v, want what this run published", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "other", "mine")); err != nil {
		t.Errorf("another artifact: %v", err)
	}
}

func TestAFailedAttemptLeavesNothingInAWholeArtifact(t *testing.T) {
	s := artifactdir.New(t.TempDir(), 7, "")
	run := job.RunReference{Build: 7}
	try := func(folder string, files ...job.UploadFile) {
		t.Helper()
		if err := s.Upload(t.Context(), job.Upload{Run: run, Container: 7, Folder: folder, Whole: "site", Files: files}); err != nil {
			t.Fatal(err)
		}
	}
	try("site-1", file(t, "of the first", "1"))
	try("site-2", file(t, "a", "2"))
	a := job.Artifact{Name: "site", Resource: job.ArtifactResource{Type: job.ArtifactContainer, Data: job.ContainerLocation(7, "site-2")}}
	if _, err := s.Associate(t.Context(), run, a); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, run); len(got) != 1 || got["a"] != "2" {
		t.Errorf("the artifact has %v, want what the second attempt published", got)
	}
	if entries, err := os.ReadDir(s.Dir()); err != nil || len(entries) != 1 || entries[0].Name() != "site" {
		t.Errorf("the folders are %v, %v; want one of the artifact's name", entries, err)
	}
}

func TestAnEarlierRunIsFoundByItsNumber(t *testing.T) {
	runs := t.TempDir()
	publish(t, artifactdir.New(runs, 6, ""), 6, "drop", file(t, "a", "of six"))
	s := artifactdir.New(runs, 7, t.TempDir())
	run, err := s.FindRun(t.Context(), job.RunQuery{Build: 6})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, run); got["a"] != "of six" {
		t.Errorf("run 6 has %v", got)
	}
	for _, q := range []job.RunQuery{{Build: 5}, {Definition: "other"}} {
		if _, err := s.FindRun(t.Context(), q); err == nil || !strings.Contains(strings.Join(hint.All(err), " "), runs) {
			t.Errorf("FindRun(%+v) = %v, want a hint that names %s", q, err, runs)
		}
	}
}

func TestOldRunsAreRemoved(t *testing.T) {
	runs := t.TempDir()
	for i := range 25 {
		publish(t, artifactdir.New(runs, 100+i, ""), 100+i, "a", file(t, "f", "x"))
	}
	left, err := os.ReadDir(runs)
	if err != nil || len(left) != 20 || slices.ContainsFunc(left, func(e fs.DirEntry) bool { id, _ := strconv.Atoi(e.Name()); return id < 105 }) {
		t.Errorf("left are %v, %v; want the 20 newest", left, err)
	}
}

func TestNoNameLeadsOut(t *testing.T) {
	s := artifactdir.New(t.TempDir(), 7, "")
	run := job.RunReference{Build: 7}
	for _, u := range []job.Upload{{Folder: "../x"}, {Folder: "/x"}, {Folder: "a", Whole: ".."}, {Folder: "a", Files: []job.UploadFile{file(t, "../../../x", "")}}} {
		if err := s.Upload(t.Context(), u); err == nil {
			t.Errorf("uploading to %s worked", u.Folder)
		}
	}
	for _, location := range []string{"#/7/../..", "#/7/", "x", "#/7//etc"} {
		a := job.Artifact{Name: "a", Resource: job.ArtifactResource{Type: job.ArtifactContainer, Data: location}}
		if files, err := s.Files(t.Context(), run, a); err == nil && len(files) > 0 {
			t.Errorf("files at %s: %v", location, files)
		}
		if err := s.Fetch(t.Context(), run, a, "../../../etc/passwd", &bytes.Buffer{}); err == nil {
			t.Errorf("fetching from %s worked", location)
		}
	}
}

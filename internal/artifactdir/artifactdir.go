// Package artifactdir knows how to keep the artifacts of runs that no server knows,
// each in a folder of its own (language §5.8):
//
//	<runs>/<run>/artifacts/<artifact>/…
//
// A [Store] stands for one run, and finds the artifacts of earlier ones. It talks to
// the file system only.
package artifactdir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// kept is how many runs are kept, this one included.
const kept = 20

// Store keeps the artifacts of one run. Its methods may be called concurrently.
type Store struct {
	runs  string
	build int
	dir   string // of this run's artifacts

	mu        sync.Mutex
	artifacts []job.Artifact
	tags      []string
	begun     bool
	filled    map[string]bool   // folders in dir that this run wrote to; true: of one artifact alone
	places    map[string]string // folder of an upload → the one in dir, where they differ
}

// New returns a store for the run with the number build. Its artifacts go below
// dir, or when that is empty below the folder of all runs. Nothing is made before
// there is something to keep.
func New(runs string, build int, dir string) *Store {
	return &Store{
		runs: runs, build: build, dir: cmp.Or(dir, artifactsOf(runs, build)),
		filled: make(map[string]bool), places: make(map[string]string),
	}
}

func artifactsOf(runs string, build int) string {
	return filepath.Join(runs, strconv.Itoa(build), "artifacts")
}

// Dir returns where the artifacts of the run are, or "" when there are none.
func (s *Store) Dir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.begun {
		return ""
	}
	return s.dir
}

// dirOf returns where the artifacts of a run are.
func (s *Store) dirOf(run job.RunReference) string {
	if run.Build == s.build {
		return s.dir
	}
	return artifactsOf(s.runs, run.Build)
}

// begin makes the folder of this run, and removes those of old ones.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil { //nolint:gosec // for people to look into
		return fmt.Errorf("making the folder of artifacts: %w", err)
	}
	s.begun = true
	entries, err := os.ReadDir(s.runs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for old runs: %w", err)
	}
	var old []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil && id != s.build {
			old = append(old, id)
		}
	}
	slices.Sort(old)
	for len(old) >= kept {
		if err := os.RemoveAll(filepath.Join(s.runs, strconv.Itoa(old[0]))); err != nil {
			return fmt.Errorf("removing an old run: %w", err)
		}
		old = old[1:]
	}
	return nil
}

// Upload copies files into the folder of the run, beside what this run has put there
// already; what an earlier one has left there goes away. An artifact that has its
// folder for itself is kept under its name, and without the files of an attempt
// before.
func (s *Store) Upload(ctx context.Context, u job.Upload) error {
	for _, name := range []string{u.Folder, cmp.Or(u.Whole, ".")} {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the folder %q of an artifact leads elsewhere", name)
		}
	}
	if err := s.begin(); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("opening the folder of artifacts: %w", err)
	}
	defer root.Close() //nolint:errcheck // its files are closed
	folder, err := s.prepare(root, u)
	if err != nil {
		return fmt.Errorf("emptying the folder of an artifact: %w", err)
	}
	for _, f := range u.Files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := keep(root, filepath.Join(folder, filepath.FromSlash(f.Path)), f); err != nil {
			return fmt.Errorf("keeping %s: %w", f.Path, err)
		}
	}
	return nil
}

// prepare returns the folder of an upload, empty when it is the first one there.
func (s *Store) prepare(root *os.Root, u job.Upload) (folder string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	folder = path.Clean(u.Folder)
	if u.Whole != "" {
		s.places[folder] = u.Whole
		folder = u.Whole
	}
	if folder == "." {
		return folder, nil // who asked for that shares it with all others
	}
	top, _, _ := strings.Cut(folder, "/")
	if alone, filled := s.filled[top]; !filled || alone && u.Whole != "" {
		err = root.RemoveAll(top)
	}
	s.filled[top] = u.Whole != ""
	return folder, err
}

// keep copies one file. Whether it is a program stays, unlike on a server.
func keep(root *os.Root, name string, f job.UploadFile) (err error) {
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	to, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644|info.Mode()&0o111)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	_, err = io.Copy(to, from)
	return err
}

// Associate remembers an artifact of this run, in place of one of the same name.
func (s *Store) Associate(_ context.Context, _ job.RunReference, a job.Artifact) (job.Artifact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.ID = len(s.artifacts) + 1
	for i, known := range s.artifacts {
		if strings.EqualFold(known.Name, a.Name) {
			a.ID = known.ID
			s.artifacts[i] = a
			return a, nil
		}
	}
	s.artifacts = append(s.artifacts, a)
	return a, nil
}

// Artifacts lists the artifacts of this run, or of one that was kept.
func (s *Store) Artifacts(_ context.Context, run job.RunReference) ([]job.Artifact, error) {
	if run.Build == s.build {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Clone(s.artifacts), nil
	}
	entries, err := os.ReadDir(s.dirOf(run))
	if err != nil {
		return nil, fmt.Errorf("listing the artifacts of run %d: %w", run.Build, err)
	}
	var out []job.Artifact
	for i, e := range entries {
		if e.IsDir() {
			out = append(out, job.Artifact{ID: i + 1, Name: e.Name(), Resource: job.ArtifactResource{
				Type: job.ArtifactContainer, Data: job.ContainerLocation(int64(run.Build), e.Name()),
			}})
		}
	}
	return out, nil
}

// Files lists the files of an artifact.
func (s *Store) Files(_ context.Context, run job.RunReference, a job.Artifact) ([]job.ContainerFile, error) {
	folder, err := s.folderOf(run, a)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.dirOf(run))
	if err != nil {
		return nil, fmt.Errorf("listing the files of artifact %s: %w", a.Name, err)
	}
	defer root.Close() //nolint:errcheck // read only
	var files []job.ContainerFile
	err = fs.WalkDir(root.FS(), folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files = append(files, job.ContainerFile{Path: strings.TrimPrefix(name, folder+"/"), Size: info.Size()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the files of artifact %s: %w", a.Name, err)
	}
	return files, nil
}

// Fetch writes one file of an artifact to to.
func (s *Store) Fetch(_ context.Context, run job.RunReference, a job.Artifact, name string, to io.Writer) error {
	folder, err := s.folderOf(run, a)
	if err != nil {
		return err
	}
	from, err := os.OpenInRoot(s.dirOf(run), filepath.FromSlash(path.Join(folder, name)))
	if err != nil {
		return fmt.Errorf("fetching %s of artifact %s: %w", name, a.Name, err)
	}
	defer from.Close() //nolint:errcheck // read only
	if _, err := io.Copy(to, from); err != nil {
		return fmt.Errorf("fetching %s of artifact %s: %w", name, a.Name, err)
	}
	return nil
}

func (s *Store) folderOf(run job.RunReference, a job.Artifact) (string, error) {
	_, folder, ok := a.Resource.Container()
	if folder = path.Clean(folder); !ok || !filepath.IsLocal(folder) {
		return "", fmt.Errorf("artifact %s is of type %s at %q, which is no folder of a run", a.Name, a.Resource.Type, a.Resource.Data)
	}
	if run.Build == s.build {
		s.mu.Lock()
		defer s.mu.Unlock()
		folder = cmp.Or(s.places[folder], folder)
	}
	return folder, nil
}

var errUnknownRun = errors.New("a replay knows no other runs than its own")

// FindRun returns a run that was kept, which has to be asked for by its number.
func (s *Store) FindRun(_ context.Context, q job.RunQuery) (job.RunReference, error) {
	if q.Build == 0 {
		return job.RunReference{}, hint.With(fmt.Errorf("looking for the latest run of pipeline %s: %w", q.Definition, errUnknownRun),
			"name a run by its number; replays keep theirs in %s", s.runs)
	}
	run := job.RunReference{Project: q.Project, Build: q.Build}
	if _, err := os.Stat(s.dirOf(run)); err != nil && run.Build != s.build {
		return run, hint.With(fmt.Errorf("looking for run %d: %w", q.Build, errUnknownRun),
			"put its artifacts into folders of their names below %s", s.dirOf(run))
	}
	return run, nil
}

// SetNumber returns the number: nobody else knows the run.
func (s *Store) SetNumber(_ context.Context, _ job.RunReference, number string) (string, error) {
	return number, nil
}

// AddTag remembers a tag and returns all.
func (s *Store) AddTag(_ context.Context, _ job.RunReference, tag string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.tags, tag) {
		s.tags = append(s.tags, tag)
	}
	return slices.Clone(s.tags), nil
}

// RenameRelease does nothing: there are no releases here.
func (s *Store) RenameRelease(context.Context, string, int, string, string) error { return nil }

package artifacttasks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

const (
	// defaultParallel is how many files are fetched at the same time, and
	// mostParallel what a pipeline may ask for: each has a connection and a buffer.
	defaultParallel = 8
	mostParallel    = 64
	// defaultRetries is how often a file is asked for again.
	defaultRetries = 4
	mostRetries    = 20
	// retryPause is the pause before the second attempt for a file; it doubles.
	retryPause = 2 * time.Second
	longest    = 30 * time.Second
)

// fetching downloads artifacts of one run into one directory.
type fetching struct {
	step     step.Step
	service  Service
	run      job.RunReference
	dir      string
	input    string // that names it
	patterns []string
	named    bool // patterns and paths begin with the artifact's name
	folders  bool // each artifact has a directory of its own
	parallel int
	retries  int

	files, bytes atomic.Int64
}

// all fetches artifacts one after another.
func (f *fetching) all(ctx context.Context, artifacts []job.Artifact) error {
	for _, a := range artifacts {
		if err := f.artifact(ctx, a); err != nil {
			return fmt.Errorf("downloading artifact %s: %w", a.Name, err)
		}
	}
	f.step.Print(fmt.Sprintf("Downloaded %d files, %s, to %s.", f.files.Load(), size(f.bytes.Load()), f.dir))
	return nil
}

func (f *fetching) artifact(ctx context.Context, a job.Artifact) error {
	dir := f.dir
	if f.folders {
		if err := CheckName(a.Name); err != nil {
			return err
		}
		dir = filepath.Join(dir, a.Name)
	}
	s, err := f.source(ctx, a)
	if err != nil {
		return err
	}
	chosen, err := f.choose(a, s.files)
	if err != nil {
		return err
	}
	if dir, err = f.step.Target(f.input, dir); err != nil {
		return err
	}
	f.step.Print(fmt.Sprintf("Downloading artifact %s: %d of %d files.", a.Name, len(chosen), len(s.files)))
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as the workspace
		return fmt.Errorf("making the directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // its files are closed
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(f.parallel)
	for _, file := range chosen {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f.file(ctx, root, file, s.fetch) })
	}
	return g.Wait()
}

// choose applies the patterns, and refuses a path that leads elsewhere.
func (f *fetching) choose(a job.Artifact, files []job.ContainerFile) ([]job.ContainerFile, error) {
	paths := make([]string, 0, len(files))
	for _, file := range files {
		if !filepath.IsLocal(file.Path) || strings.ContainsRune(file.Path, 0) {
			return nil, fmt.Errorf("its file %q leads out of it", file.Path)
		}
		paths = append(paths, f.shown(a, file))
	}
	matched, err := match.Filter(paths, f.patterns, "", match.Options{})
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(matched))
	for _, p := range matched {
		wanted[p] = true
	}
	var chosen []job.ContainerFile
	for _, file := range files {
		if wanted[f.shown(a, file)] {
			chosen = append(chosen, file)
		}
	}
	return chosen, nil
}

func (f *fetching) shown(a job.Artifact, file job.ContainerFile) string {
	if f.named {
		return path.Join(a.Name, file.Path)
	}
	return path.Clean(file.Path)
}

// file fetches one file, again while that may help. It is there whole or not at all.
func (f *fetching) file(ctx context.Context, root *os.Root, file job.ContainerFile, fetch func(context.Context, string, io.Writer) error) error {
	policy := retry.Policy{
		Attempts: f.retries + 1, First: retryPause, Max: longest,
		Notify: func(err error, _ int, pause time.Duration) {
			f.step.Warning(fmt.Sprintf("Downloading %s failed and is tried again in %s: %v", file.Path, pause.Round(time.Second), err))
		},
	}
	err := retry.Do(ctx, policy, func(ctx context.Context) error {
		return replaceWith(root, file.Path, func(to io.Writer) error {
			count := &counter{to: to}
			if err := fetch(ctx, file.Path, count); err != nil {
				return err
			}
			if file.Size >= 0 && count.bytes != file.Size {
				return &incomplete{got: count.bytes, want: file.Size}
			}
			f.bytes.Add(count.bytes)
			return nil
		})
	})
	if err != nil {
		return err
	}
	f.files.Add(1)
	return nil
}

// incomplete is a file that is not as long as it should be.
type incomplete struct{ got, want int64 }

func (e *incomplete) Error() string {
	return fmt.Sprintf("the server sent %d of %d bytes", e.got, e.want)
}

// Temporary says that asking again may help.
func (e *incomplete) Temporary() bool { return true }

type counter struct {
	to    io.Writer
	bytes int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.bytes += int64(n)
	return n, err
}

// source is where the files of an artifact come from.
type source struct {
	files []job.ContainerFile
	fetch func(ctx context.Context, name string, to io.Writer) error
}

func (f *fetching) source(ctx context.Context, a job.Artifact) (source, error) {
	switch {
	case strings.EqualFold(a.Resource.Type, job.ArtifactContainer):
		files, err := f.service.Files(ctx, f.run, a)
		return source{files, func(ctx context.Context, name string, to io.Writer) error {
			return f.service.Fetch(ctx, f.run, a, name, to)
		}}, err
	case strings.EqualFold(a.Resource.Type, job.ArtifactFilePath):
		return f.shared(ctx, a)
	case strings.EqualFold(a.Resource.Type, job.ArtifactPipeline):
		return source{}, hint.With(errors.New("it is in the service's own store for pipeline artifacts, which speaks no public protocol"),
			"publish it by an agent of this kind, or with PublishBuildArtifacts@1")
	}
	return source{}, fmt.Errorf("it is of type %s, which cannot be downloaded", a.Resource.Type)
}

// shared is the source of an artifact on a file share.
func (f *fetching) shared(ctx context.Context, a job.Artifact) (source, error) {
	if !filepath.IsAbs(a.Resource.Data) {
		return source{}, hint.With(fmt.Errorf("it is on the file share %s, which cannot be reached from here", a.Resource.Data),
			"mount the share, and publish with the path of the mount")
	}
	if err := CheckName(a.Name); err != nil {
		return source{}, err
	}
	dir := filepath.Join(a.Resource.Data, a.Name)
	c, err := Collect(ctx, dir, f.step.Open, nil)
	if err != nil {
		return source{}, err
	}
	s := source{fetch: func(_ context.Context, name string, to io.Writer) error {
		from, err := f.step.Open(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		defer from.Close() //nolint:errcheck // read only
		_, err = io.Copy(to, from)
		return err
	}}
	for _, file := range c.Files {
		s.files = append(s.files, job.ContainerFile{Path: file.Path, Size: -1})
	}
	return s, nil
}

// replace writes a file below root that is there whole or not at all.
func replace(root *os.Root, name string, from io.Reader) error {
	return replaceWith(root, name, func(to io.Writer) error {
		_, err := io.Copy(to, from)
		return err
	})
}

func replaceWith(root *os.Root, name string, write func(io.Writer) error) (err error) {
	name = filepath.FromSlash(name)
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	temporary := filepath.Join(filepath.Dir(name), ".download-"+rand.Text())
	file, err := root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temporary) // the other error counts
		}
	}()
	if err := write(file); err != nil {
		_ = file.Close() // as above
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := root.Rename(temporary, name); err != nil {
		if info, serr := root.Stat(name); serr == nil && info.IsDir() {
			return fmt.Errorf("writing %s: there is a directory of this name", name)
		}
		return err
	}
	return nil
}

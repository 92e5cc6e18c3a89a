// Package taskstore knows how to keep the packages of tasks on disk (protocol
// §8.3): each version of a task is fetched once, unpacked below one folder and
// marked complete, for this agent and for every other one on the same volume.
//
// A [Store] is told where and from what; [Store.Ensure] returns the folder of a
// task. It talks to the file system, and to the server through the function it
// was given.
//
//	<Dir>/<name>_<id>/<version>/            the package
//	<Dir>/<name>_<id>/<version>.completed   written last: the package is whole
//	<Dir>/<name>_<id>/<version>.lock        held while the package is made
//	<Dir>/<name>_<id>/.<version>-*          a package being made
package taskstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/runner/internal/plainfile"
	"github.com/dockless-ci/dockless/runner/internal/taskdef"
)

// The values of protocol §8.3. The pause is random, so that agents which a
// server turned away together do not come back together.
const (
	attempts  = 3
	timeLimit = 1200 * time.Second
	shortest  = 10 * time.Second
	longest   = 30 * time.Second
)

// maxMarker bounds a marker, in bytes. Ours has about forty.
const maxMarker = 4 << 10

var errSlow = fmt.Errorf("the package did not arrive within %s", timeLimit)

// ErrPackage says that a package arrived and cannot be used. Fetching it again
// would bring the same one.
var ErrPackage = errors.New("the package cannot be used")

// Store is a folder of packages. Its methods may be called concurrently, also by
// several processes.
type Store struct {
	Dir string
	// Shared is a folder of archives for agents with work folders of their own;
	// empty: there is none. It is only read, unless Fill is set.
	Shared string
	// Fill puts what is downloaded into Shared.
	Fill bool
	// Fetch writes the zip of a task to a file. An error with a method
	// Temporary() bool that says no ends the attempts.
	Fetch func(ctx context.Context, ref job.TaskReference, to io.Writer) error
	// Warn is told of an attempt that failed and is followed by another one.
	Warn func(text string)
	// Say is told what takes time: that a package is fetched now, or that another
	// agent does it.
	Say func(text string)
}

// Task is a package on disk.
type Task struct {
	Dir        string
	Definition *taskdef.Definition
}

// Ensure returns the package of ref, fetched when it is not there whole. An
// error that wraps [ErrPackage] says that the server has none that can be used.
func (s *Store) Ensure(ctx context.Context, ref job.TaskReference) (Task, error) {
	p, err := s.place(ref)
	if err != nil {
		return Task{}, err
	}
	if t, ok := p.ready(); ok {
		return t, nil
	}
	if err := os.MkdirAll(p.folder, 0o755); err != nil { //nolint:gosec // containers of the job read it as other users
		return Task{}, fmt.Errorf("making the folder of the task: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, errSlow)
	defer cancel()
	name := ref.Name + " (" + ref.Version + ")"
	lock := plainfile.Lock{Path: p.dir + ".lock", Waiting: func() { s.Say("Waiting for another agent that downloads task: " + name) }}
	release, err := lock.Take(ctx)
	if err != nil {
		return Task{}, fmt.Errorf("waiting for another agent that fetches the same task: %w", err)
	}
	defer release() //nolint:errcheck // nothing was written
	if t, ok := p.ready(); ok {
		return t, nil // made while we waited
	}
	if t, ok := s.unshare(ctx, p); ok {
		return t, nil
	}
	s.Say("Downloading task: " + name)
	for attempt := 1; ; attempt++ {
		t, err := s.make(ctx, p, true, s.download)
		if err == nil {
			return t, nil
		}
		if ctx.Err() != nil {
			return Task{}, context.Cause(ctx)
		}
		if attempt == attempts || final(err) {
			return Task{}, err
		}
		pause := retry.Between(shortest, longest)
		s.Warn(fmt.Sprintf("Downloading task %s failed and is tried again in %s: %v", ref.Name, pause.Round(time.Second), err))
		if err := retry.Wait(ctx, pause); err != nil {
			return Task{}, err
		}
	}
}

// unshare makes the package from the archive in the shared folder, if that has it.
func (s *Store) unshare(ctx context.Context, p place) (Task, bool) {
	if s.Shared == "" {
		return Task{}, false
	}
	t, err := s.make(ctx, p, false, func(ctx context.Context, p place, zip string) error {
		if !s.take(ctx, p, zip) {
			return errNotShared
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNotShared) && ctx.Err() == nil {
		s.Warn(fmt.Sprintf("The shared package of task %s (%s) cannot be used and is downloaded again: %v", p.ref.Name, p.ref.Version, err))
	}
	return t, err == nil
}

var (
	errNotShared = errors.New("the shared folder does not have the package")
	errFill      = errors.New("writing the package into the shared folder")
)

// final reports whether another attempt cannot help.
func final(err error) bool {
	if errors.Is(err, ErrPackage) || errors.Is(err, errFill) {
		return true
	}
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && !t.Temporary()
}

// place is where the package of one reference is.
type place struct {
	ref     job.TaskReference
	version taskdef.Version
	folder  string // of all versions
	dir     string // of this one
}

// Names become parts of paths.
var (
	taskName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)
	taskID   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

func (s *Store) place(ref job.TaskReference) (place, error) {
	ref.ID = strings.ToLower(ref.ID)
	version, err := taskdef.ParseVersion(ref.Version)
	switch {
	case !taskName.MatchString(ref.Name):
		return place{}, fmt.Errorf("the task's name %q cannot be used for a folder", ref.Name)
	case !taskID.MatchString(ref.ID):
		return place{}, fmt.Errorf("the id %q of task %s is no GUID", ref.ID, ref.Name)
	case err != nil:
		return place{}, fmt.Errorf("task %s: %w", ref.Name, err)
	}
	folder := filepath.Join(s.Dir, ref.Name+"_"+ref.ID)
	return place{ref: ref, version: version, folder: folder, dir: filepath.Join(folder, ref.Version)}, nil
}

// marker is what the marker file says of a whole package. Less must not be
// there: after the machine itself went down, files may have lost their content
// although the marker survived. More may be: some tasks write beside themselves.
type marker struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (p place) marker() string { return p.dir + ".completed" }

// ready returns the package if it is there whole. One whose marker is not ours,
// because another agent made it, is taken as it is.
func (p place) ready() (Task, bool) {
	text, err := plainfile.Read(p.marker(), maxMarker)
	if err != nil {
		return Task{}, false
	}
	var want marker
	if json.Unmarshal(text, &want) == nil && want.Files > 0 {
		if got, err := measure(p.dir); err != nil || got.Files < want.Files || got.Bytes < want.Bytes {
			return Task{}, false
		}
	}
	t, err := p.open(p.dir)
	return t, err == nil
}

// measure counts what is below dir.
func measure(dir string) (marker, error) {
	var m marker
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			m.Files++
			m.Bytes += info.Size()
		}
		return err
	})
	return m, err
}

// open reads the definition of the package in dir and checks that it is the one
// that was asked for.
func (p place) open(dir string) (Task, error) {
	refuse := func(format string, args ...any) (Task, error) {
		return Task{}, fmt.Errorf("%w: "+format, append([]any{ErrPackage}, args...)...)
	}
	file, err := plainfile.Open(filepath.Join(dir, taskdef.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return refuse("it has no %s", taskdef.FileName)
	}
	if errors.Is(err, plainfile.ErrNotPlain) {
		return refuse("its %s is no plain file", taskdef.FileName)
	}
	if err != nil {
		return Task{}, fmt.Errorf("reading %s: %w", taskdef.FileName, err)
	}
	defer file.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(file, taskdef.MaxSize+1))
	if err != nil {
		return Task{}, fmt.Errorf("reading %s: %w", taskdef.FileName, err)
	}
	d, err := taskdef.Parse(text)
	if err != nil {
		return refuse("its %s is of no use: %w", taskdef.FileName, err)
	}
	if d.ID != p.ref.ID || d.Version != p.version {
		return refuse("it holds task %s %s, not %s %s", d.ID, d.Version, p.ref.ID, p.version)
	}
	return Task{Dir: p.dir, Definition: d}, nil
}

// clear removes what a process that died has left, or an attempt that failed
// after it had moved the package to its place. The lock is held, so nobody is at
// work in there.
func (p place) clear() error {
	left, err := filepath.Glob(filepath.Join(p.folder, "."+p.ref.Version+"-*"))
	if err != nil {
		return err
	}
	// The marker goes first: without it the rest is not taken for a package.
	for _, path := range append([]string{p.marker(), p.dir}, left...) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// make gets and unpacks the package beside its place, then moves it there
// and marks it. One that is fresh goes into the shared folder, if
// that is to be filled. The lock is held.
func (s *Store) make(ctx context.Context, p place, fresh bool, get func(ctx context.Context, p place, zip string) error) (_ Task, err error) {
	if err := p.clear(); err != nil {
		return Task{}, fmt.Errorf("removing what is left of an earlier download: %w", err)
	}
	work, err := os.MkdirTemp(p.folder, "."+p.ref.Version+"-*")
	if err != nil {
		return Task{}, fmt.Errorf("making a folder for the package: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	zip, content := filepath.Join(work, "package.zip"), filepath.Join(work, "content")
	if err := get(ctx, p, zip); err != nil {
		return Task{}, err
	}
	if err := unpack(ctx, zip, content); err != nil {
		return Task{}, fmt.Errorf("unpacking the package: %w", err)
	}
	t, err := p.open(content)
	if err != nil {
		return Task{}, err
	}
	m, err := measure(content)
	if err != nil {
		return Task{}, fmt.Errorf("looking through the package: %w", err)
	}
	if err := os.Rename(content, p.dir); err != nil {
		return Task{}, fmt.Errorf("moving the package to its place: %w", err)
	}
	if err := p.mark(m, filepath.Join(work, "completed")); err != nil {
		return Task{}, fmt.Errorf("marking the package complete: %w", err)
	}
	if fresh && s.Fill {
		if err := s.copyIn(p.ref, zip); err != nil {
			return Task{}, fmt.Errorf("%w: %w", errFill, err)
		}
	}
	return t, nil
}

// download gets the package from the server.
func (s *Store) download(ctx context.Context, p place, zip string) error {
	if err := s.fetch(ctx, p.ref, zip); err != nil {
		return fmt.Errorf("downloading the package: %w", err)
	}
	return nil
}

// mark writes the marker, under another name first.
func (p place) mark(m marker, temporary string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return plainfile.Replace(temporary, p.marker(), bytes.NewReader(text), 0o644)
}

func (s *Store) fetch(ctx context.Context, ref job.TaskReference, to string) (err error) {
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := file.Close(); err == nil && cerr != nil {
			err = cerr
		}
		if ofTheDisk(err) {
			err = hint.With(err, "give the volume of AZP_WORK more room, or mount it writable")
		}
	}()
	return s.Fetch(ctx, ref, file)
}

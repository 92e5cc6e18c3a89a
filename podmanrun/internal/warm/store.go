package warm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// Format is the version of what fixtures look like. It belongs into every key, so
// that a release reads only what it understands.
const Format = "1"

const (
	aboutFile = "about.json"
	hitsFile  = "hits" // one byte for each; its time is when it was last used
	unborn    = ".new-"
	removed   = ".old-"
	// maxAbout bounds what is read of a description.
	maxAbout = 64 << 10
)

// ErrBusy is the error of what somebody else does at the moment, or has done.
var ErrBusy = errors.New("somebody else has or keeps this fixture")

// namePattern is what scopes and keys look like: they become names of folders.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Store is a directory of fixtures, which processes of one machine may share. Its
// methods may be called concurrently.
type Store struct {
	Dir  string
	Size int64 // bytes that all fixtures may take; what was not used for longest goes first
}

// About describes a fixture.
type About struct {
	Service string        `json:"service"`
	Image   string        `json:"image"`
	Volumes []string      `json:"volumes"` // where they are mounted, in the order of their content
	Files   int           `json:"files"`
	Bytes   int64         `json:"bytes"` // on disk
	Cold    time.Duration `json:"cold"`  // nanoseconds that the start from nothing took
	Made    time.Time     `json:"made"`
}

// readAbout decodes a description, which somebody may have tampered with.
func readAbout(data []byte) (About, error) {
	var a About
	if err := json.Unmarshal(data, &a); err != nil {
		return About{}, fmt.Errorf("reading the description of a fixture: %w", err)
	}
	if len(a.Volumes) == 0 || a.Files < 0 || a.Bytes < 0 || a.Cold < 0 {
		return About{}, errors.New("the description of a fixture makes no sense")
	}
	return a, nil
}

func aboutOf(dir string) (About, error) {
	path := filepath.Join(dir, aboutFile)
	stat, err := os.Lstat(path)
	if err != nil {
		return About{}, err
	}
	if !stat.Mode().IsRegular() || stat.Size() > maxAbout {
		return About{}, fmt.Errorf("%s is no description of a fixture", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return About{}, err
	}
	return readAbout(data)
}

// locked opens a directory and locks it, exclusively or shared. It returns [ErrBusy]
// when that has to be waited for, and fs.ErrNotExist when the directory has lost its
// name meanwhile. Closing gives the lock back, as the end of the process does.
func locked(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrBusy
	}
	if err == nil {
		err = stillNamed(f, dir)
	}
	if err != nil {
		_ = f.Close() // only read from
		return nil, err
	}
	return f, nil
}

// stillNamed reports fs.ErrNotExist when dir is not f any more.
func stillNamed(f *os.File, dir string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !os.SameFile(mine, named) {
		return fs.ErrNotExist
	}
	return nil
}

// Reading is a fixture that is being restored; nobody removes its content before
// [Reading.Close].
type Reading struct {
	About About
	Dir   string // where its content is

	lock *os.File
}

// Open finds the fixture of a key in the first scope that has one. It returns
// fs.ErrNotExist when none has.
func (s Store) Open(scopes []string, key string) (*Reading, error) {
	for _, scope := range scopes {
		dir, err := s.place(scope, key)
		if err != nil {
			return nil, err
		}
		lock, err := locked(dir, unix.LOCK_SH)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("opening fixture %s: %w", key, err)
		}
		about, err := aboutOf(dir)
		if err != nil {
			r := &Reading{Dir: dir, lock: lock}
			return nil, errors.Join(err, r.Drop())
		}
		return &Reading{About: about, Dir: dir, lock: lock}, nil
	}
	return nil, fs.ErrNotExist
}

// Close ends the reading.
func (r *Reading) Close() { _ = r.lock.Close() } // only read from

// Hit notes that the fixture was of use.
func (r *Reading) Hit() {
	f, err := os.OpenFile(filepath.Join(r.Dir, hitsFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return // it may be on a volume that is mounted read-only
	}
	_, _ = f.Write([]byte{'.'}) // a count for people
	_ = f.Close()
}

// Drop removes a fixture that is of no use, and ends the reading.
func (r *Reading) Drop() error {
	defer r.Close()
	return discard(r.Dir, r.lock)
}

// place is where the fixture of a key is.
func (s Store) place(scope, key string) (string, error) {
	for _, name := range []string{scope, key} {
		if !namePattern.MatchString(name) {
			return "", fmt.Errorf("%q cannot be part of the name of a fixture", name)
		}
	}
	return filepath.Join(s.Dir, scope, key), nil
}

// Writing is a fixture that is being kept. It is there for others after
// [Writing.Commit].
type Writing struct {
	Dir string // where its content goes

	store Store
	place string
	lock  *os.File
}

// Begin starts a fixture. It returns [ErrBusy] when there is one already, or
// somebody keeps one at the moment. What somebody left who died meanwhile is
// removed.
func (s Store) Begin(scope, key string) (*Writing, error) {
	place, err := s.place(scope, key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return nil, fmt.Errorf("keeping fixture %s: %w", key, err)
	}
	dir := filepath.Join(filepath.Dir(place), unborn+key)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("keeping fixture %s: %w", key, err)
	}
	lock, err := locked(dir, unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrBusy // it has got its name, or was given up, this moment
	}
	if err != nil {
		return nil, err
	}
	w := &Writing{Dir: dir, store: s, place: place, lock: lock}
	if _, err := os.Lstat(place); err == nil {
		return nil, errors.Join(ErrBusy, w.Abort())
	}
	if err := empty(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping fixture %s: %w", key, err), w.Abort())
	}
	return w, nil
}

// Commit makes the fixture whole: on disk, described, and under its name.
func (w *Writing) Commit(about About) error {
	defer func() { _ = w.lock.Close() }() // only read from
	data, err := json.Marshal(about)
	if err != nil {
		return errors.Join(err, w.remove())
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(w.Dir, aboutFile), data, 0o600),
		os.WriteFile(filepath.Join(w.Dir, hitsFile), nil, 0o600),
	)
	if err == nil {
		err = syncTree(w.Dir) // else a machine that dies could leave a name and half a content
	}
	if err == nil {
		err = os.Rename(w.Dir, w.place)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping fixture %s: %w", filepath.Base(w.place), err), w.remove())
	}
	return nil
}

// Abort gives the fixture up.
func (w *Writing) Abort() error {
	defer func() { _ = w.lock.Close() }() // only read from
	return w.remove()
}

func (w *Writing) remove() error {
	if err := os.RemoveAll(w.Dir); err != nil {
		return fmt.Errorf("giving up a fixture: %w", err)
	}
	return nil
}

// empty removes what is in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

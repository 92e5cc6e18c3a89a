package warm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Fixture is what is known of one that is kept.
type Fixture struct {
	Scope string    `json:"scope"`
	Key   string    `json:"key"`
	Used  time.Time `json:"used"` // the last time, or when it was made
	Hits  int64     `json:"hits"`
	About
}

// List returns the fixtures, the one that was used last first. What is no fixture
// is left out. A directory that is not there has none.
func (s Store) List() ([]Fixture, error) {
	scopes, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing fixtures: %w", err)
	}
	var list []Fixture
	for _, scope := range scopes {
		entries, err := os.ReadDir(filepath.Join(s.Dir, scope.Name()))
		if err != nil {
			continue // no folder
		}
		for _, e := range entries {
			if f, ok := s.look(scope.Name(), e.Name()); ok {
				list = append(list, f)
			}
		}
	}
	slices.SortFunc(list, func(a, b Fixture) int { return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Key, b.Key)) })
	return list, nil
}

func (s Store) look(scope, key string) (Fixture, bool) {
	dir, err := s.place(scope, key)
	if err != nil {
		return Fixture{}, false
	}
	about, err := aboutOf(dir)
	if err != nil {
		return Fixture{}, false
	}
	f := Fixture{Scope: scope, Key: key, Used: about.Made, About: about}
	if stat, err := os.Lstat(filepath.Join(dir, hitsFile)); err == nil {
		f.Used, f.Hits = stat.ModTime(), stat.Size()
	}
	return f, true
}

// Remove removes a fixture. One that somebody reads loses its name at once and its
// content later.
func (s Store) Remove(f Fixture) error {
	dir, err := s.place(f.Scope, f.Key)
	if err != nil {
		return err
	}
	return discard(dir, nil)
}

// discard takes its name from a fixture, and removes its content if nobody else reads
// it. Lock is a shared lock of the caller's on it, or nil.
func discard(dir string, lock *os.File) error {
	gone := filepath.Join(filepath.Dir(dir), removed+filepath.Base(dir)+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if lock != nil && stillNamed(lock, dir) != nil {
		return nil // somebody was faster, and another one may have its name
	}
	err := os.Rename(dir, gone)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing fixture %s: %w", filepath.Base(dir), err)
	}
	if lock != nil {
		// The lock becomes an exclusive one unless others read, who are waited for by
		// the next Prune.
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return nil
		}
		return os.RemoveAll(gone)
	}
	return sweep(gone)
}

// sweep removes a folder that nobody has locked.
func sweep(dir string) error {
	lock, err := locked(dir, unix.LOCK_EX)
	if errors.Is(err, ErrBusy) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing what is left of a fixture: %w", err)
	}
	defer func() { _ = lock.Close() }() // only read from
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing what is left of a fixture: %w", err)
	}
	return nil
}

// Prune removes what is left of fixtures that were given up or removed, and as many
// fixtures, those that were not used for longest first, as it takes for the others
// to fit into the store's size. It returns what it removed.
func (s Store) Prune() (gone []Fixture, err error) {
	left, err := filepath.Glob(filepath.Join(s.Dir, "*", ".*-*"))
	if err != nil {
		return nil, fmt.Errorf("looking for leftovers of fixtures: %w", err)
	}
	var errs []error
	for _, dir := range left {
		if name := filepath.Base(dir); strings.HasPrefix(name, unborn) || strings.HasPrefix(name, removed) {
			errs = append(errs, sweep(dir))
		}
	}
	list, err := s.List()
	errs = append(errs, err)
	var total int64
	for _, f := range list {
		if total += f.Bytes; total <= s.Size {
			continue
		}
		if err := s.Remove(f); err != nil {
			errs = append(errs, err)
			continue
		}
		total -= f.Bytes
		gone = append(gone, f)
	}
	return gone, errors.Join(errs...)
}

package jobcache

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Dir is a directory of entries, which several agents may share:
//
//	<path>/<scope>/<key>.entry   one folder
//	<path>/<scope>/.new-*        one that is being written
//
// It makes no use of locks: an entry gets its name when it is complete, the first
// one of a name stays, and whoever reads one that is removed goes on reading. The
// time of a file is when it was last used.
type Dir struct {
	Path string
	Size int64 // bytes that all entries may have; those not used for longest go first
}

const (
	suffix = ".entry"
	unborn = ".new-"
	// abandoned is how old a file must be that nobody finished: longer than any
	// job may take to write one.
	abandoned = 24 * time.Hour
)

func (d Dir) file(scope Scope, key Key) string {
	return filepath.Join(d.Path, string(scope), key.hash()+suffix)
}

// open opens the entry of a key, behind its first line, and notes that it is used.
// It returns fs.ErrNotExist when there is none.
func (d Dir) open(scope Scope, key Key) (*os.File, header, error) {
	return d.openFile(d.file(scope, key), func(h header) bool { return slices.Equal(h.Key, key) })
}

func (d Dir) openFile(path string, fits func(header) bool) (*os.File, header, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, header{}, err
	}
	h, err := readHeader(file)
	if err == nil && !fits(h) {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = file.Close() // only read from
		if errors.Is(err, errBroken) {
			_ = os.Remove(path) // it had its name when it was whole; another one may take its place
		}
		return nil, header{}, err
	}
	_ = os.Chtimes(path, time.Now(), time.Now()) // somebody may have removed it
	return file, h, nil
}

// newest opens the newest entry whose key begins with prefix.
func (d Dir) newest(scope Scope, prefix Key) (*os.File, header, error) {
	entries, err := os.ReadDir(filepath.Join(d.Path, string(scope)))
	if err != nil {
		return nil, header{}, err
	}
	var best header
	name := ""
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		if h, err := d.look(scope, e.Name()); err == nil && h.Key.begins(prefix) && h.Created.After(best.Created) {
			best, name = h, e.Name()
		}
	}
	if name == "" {
		return nil, header{}, fs.ErrNotExist
	}
	return d.openFile(filepath.Join(d.Path, string(scope), name), func(h header) bool { return h.Key.begins(prefix) })
}

// look reads the first line of an entry.
func (d Dir) look(scope Scope, name string) (header, error) {
	file, err := os.Open(filepath.Join(d.Path, string(scope), name))
	if err != nil {
		return header{}, err
	}
	defer file.Close() //nolint:errcheck // read only
	return readHeader(file)
}

// create makes a file for an entry that has no name yet.
func (d Dir) create(scope Scope) (*os.File, error) {
	dir := filepath.Join(d.Path, string(scope))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of caches: %w", err)
	}
	file, err := os.CreateTemp(dir, unborn+"*")
	if err != nil {
		return nil, fmt.Errorf("making an entry: %w", err)
	}
	return file, nil
}

// keep gives a complete entry its name, unless there is one, and makes room. It
// closes the file and reports whether the entry is the one of that name now.
func (d Dir) keep(file *os.File, scope Scope, key Key) (kept bool, err error) {
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }() // it has a second name, or none is wanted
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return false, fmt.Errorf("writing an entry: %w", err)
	}
	switch err := os.Link(file.Name(), d.file(scope, key)); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("naming an entry: %w", err)
	}
	return true, d.evict(d.file(scope, key))
}

// drop removes a file that did not become an entry.
func drop(file *os.File) { _ = errors.Join(file.Close(), os.Remove(file.Name())) } // what made it fail counts

// stored is a file of the directory.
type stored struct {
	path string
	size int64
	used time.Time
}

// evict removes entries until the rest fits, but not the one that was just made,
// and what was never finished.
func (d Dir) evict(latest string) error {
	all, err := d.list()
	if err != nil {
		return fmt.Errorf("looking for old caches: %w", err)
	}
	var total int64
	for _, s := range all {
		total += s.size
	}
	slices.SortFunc(all, func(a, b stored) int { return cmp.Or(a.used.Compare(b.used), strings.Compare(a.path, b.path)) })
	for _, s := range all {
		if total <= d.Size {
			break
		}
		if s.path == latest {
			continue
		}
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing an old cache: %w", err)
		}
		total -= s.size
	}
	return nil
}

// list returns all entries, and removes what was never finished. What somebody else
// removes meanwhile is not there.
func (d Dir) list() ([]stored, error) {
	scopes, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	var all []stored
	for _, scope := range scopes {
		dir := filepath.Join(d.Path, scope.Name())
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // no scope
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			path := filepath.Join(dir, e.Name())
			switch {
			case strings.HasSuffix(e.Name(), suffix):
				all = append(all, stored{path, info.Size(), info.ModTime()})
			case strings.HasPrefix(e.Name(), unborn) && time.Since(info.ModTime()) > abandoned:
				_ = os.Remove(path) // or somebody else did
			}
		}
	}
	return all, nil
}

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
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/runner/internal/plainfile"
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
	file, err := openPlain(path)
	if err != nil {
		return nil, header{}, err
	}
	h, err := readHeader(file)
	if err == nil && !fits(h) {
		err = fs.ErrNotExist
	}
	if err != nil {
		if errors.Is(err, errBroken) {
			discard(file)
		}
		_ = file.Close() // only read from
		return nil, header{}, err
	}
	_ = os.Chtimes(path, time.Now(), time.Now()) // somebody may have removed it
	return file, h, nil
}

// discard removes an entry that is damaged, unless another one has taken its place
// meanwhile. What cannot be removed stays a miss.
func discard(file *os.File) {
	mine, err := file.Stat()
	if err != nil {
		return
	}
	if there, err := os.Lstat(file.Name()); err == nil && os.SameFile(mine, there) {
		_ = os.Remove(file.Name())
	}
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
	file, err := openPlain(filepath.Join(d.Path, string(scope), name))
	if err != nil {
		return header{}, err
	}
	defer file.Close() //nolint:errcheck // read only
	return readHeader(file)
}

// openPlain opens an entry. A pipe or a link in its place, which a job can put there,
// is no entry: it is removed, and nobody waits for it.
func openPlain(path string) (*os.File, error) {
	file, err := plainfile.Open(path)
	if errors.Is(err, plainfile.ErrNotPlain) {
		return nil, errors.Join(fs.ErrNotExist, os.Remove(path))
	}
	return file, err
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
	defer func() { // it has a second name, or none is wanted
		if rerr := os.Remove(file.Name()); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return false, fmt.Errorf("writing an entry: %w", err)
	}
	switch err := place(file.Name(), d.file(scope, key), os.Link); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("naming an entry: %w", err)
	}
	return true, d.evict(d.file(scope, key))
}

// place gives a file a second name by link, or on a volume that knows no hard links
// another one. It fails with fs.ErrExist when the name is taken. There it is taken by
// an empty file first, which is a damaged entry to everybody else: should that be
// removed and taken again, one of two whole entries stays.
func place(from, to string, link func(from, to string) error) error {
	err := link(from, to)
	switch {
	case err == nil, errors.Is(err, fs.ErrExist):
		return err
	case !slices.ContainsFunc(noLinks, func(no error) bool { return errors.Is(err, no) }):
		return err
	}
	claim, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(claim.Close(), os.Rename(from, to)); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// noLinks are what file systems without hard links say to one: FAT and CIFS, those in
// user space, and SMB.
var noLinks = []error{syscall.EPERM, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EMLINK}

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

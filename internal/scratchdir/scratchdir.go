// Package scratchdir keeps directories for what a process makes on its way, such
// as gigabytes of image layers, and removes those that killed processes have left. A
// process is looked for on this machine only: the directories that they are in are not
// to be shared with others.
package scratchdir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// grace is how old a directory is before it is taken for left: it is locked at once
// after it was made.
const grace = time.Minute

// Dir is a directory of this process. The kernel unlocks it when the process dies,
// so that the next one removes it.
type Dir struct {
	Path string // absolute when the directory it is in is

	lock *flock.Flock
}

// Make makes one in a directory, that of temporary files when it is empty, and
// removes there what killed processes have left under the pattern. The pattern is
// that of [os.MkdirTemp], with its "*", and belongs to one kind of directories:
// whatever directory of this user has such a name and no lock is removed. When ctx ends,
// the rest of that is left to the next one.
func Make(ctx context.Context, in, pattern string) (*Dir, error) {
	if in == "" {
		in = os.TempDir()
	}
	sweep(ctx, in, pattern, time.Now().Add(-grace))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path, err := os.MkdirTemp(in, pattern)
	if err != nil {
		return nil, err
	}
	d := &Dir{Path: path, lock: lockOf(path)}
	if _, err := d.lock.TryLock(); err != nil {
		return nil, errors.Join(err, d.Remove())
	}
	return d, nil
}

// Remove removes the directory with all that is in it.
func (d *Dir) Remove() error { return errors.Join(os.RemoveAll(d.Path), d.lock.Close()) }

// lockOf returns the lock of a directory. Opening it follows no link and waits for
// no pipe that others may have put in its place, in a folder where everybody writes.
func lockOf(path string) *flock.Flock {
	return flock.New(path, flock.SetFlag(os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW))
}

// sweep removes directories that nobody has locked. Those of other users stay, who could
// put a link in the place of one while it is removed, and so does what a link leads to.
func sweep(ctx context.Context, in, pattern string, before time.Time) {
	found, err := filepath.Glob(filepath.Join(in, pattern))
	if err != nil {
		return // not reached: the pattern is a good one, unless the directory's name is not
	}
	for _, path := range found {
		stat, err := os.Lstat(path)
		if err != nil || !stat.IsDir() || !isOurs(stat) || stat.ModTime().After(before) {
			continue
		}
		lock := lockOf(path)
		if free, err := lock.TryLock(); err == nil && free {
			_ = remove(ctx, path) // best effort, for somebody else
		}
		_ = lock.Close() // nothing was written
	}
}

func isOurs(stat fs.FileInfo) bool {
	about, ok := stat.Sys().(*syscall.Stat_t)
	return ok && int(about.Uid) == os.Geteuid()
}

// remove removes a directory, and stops between two files when ctx ends.
func remove(ctx context.Context, path string) error {
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // what cannot be read is said below
		}
		return os.Remove(name) //nolint:gosec // only this user could put a link in its place
	})
	if ctx.Err() != nil {
		return err
	}
	return os.RemoveAll(path)
}

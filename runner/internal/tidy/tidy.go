// Package tidy knows how to remove what jobs leave behind: trees that may be larger than
// there is time for, and that have directories in them which lost their write permission,
// as module caches of Go do. It follows no links and talks to the file system only.
package tidy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Remove removes the tree at path. One that is not there, or has no name, is no error. It
// goes on after an error, of which it returns the first, and stops when ctx ends, with its
// cause; what it has removed by then is gone.
func Remove(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	path = filepath.Clean(path) // a slash at its end would be a name
	dir, name := filepath.Dir(path), filepath.Base(path)
	if name == "." || !filepath.IsLocal(name) {
		return fmt.Errorf("removing %s: it is no entry of a directory", path)
	}
	parent, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	defer parent.Close() //nolint:errcheck // nothing was written to it
	if err := remove(ctx, parent, name); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

// Empty removes what is in the directory dir, as [Remove] does. One that is not there is
// no error, and none is made.
func Empty(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer root.Close() //nolint:errcheck // nothing was written to it
		err = empty(ctx, root)
	}
	if err != nil {
		return fmt.Errorf("emptying %s: %w", dir, err)
	}
	return nil
}

// remove removes the entry name of dir, and what is in it.
func remove(ctx context.Context, dir *os.Root, name string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := dir.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	info, lerr := dir.Lstat(name)
	if lerr != nil || !info.IsDir() {
		return err
	}
	if info.Mode().Perm()&0o700 != 0o700 {
		_ = dir.Chmod(name, 0o700) // what follows says whether that was necessary
	}
	if err = enter(ctx, dir, name, info); err == nil {
		err = dir.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was faster
	}
	return err
}

// enter removes what is in the directory name of dir, which info describes: a link that
// took its place meanwhile leads to another.
func enter(ctx context.Context, dir *os.Root, name string, info fs.FileInfo) error {
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // nothing was written to it
	if now, err := sub.Stat("."); err != nil || !os.SameFile(info, now) {
		return cmp.Or(err, fmt.Errorf("%s is no longer the directory that it was", name))
	}
	return empty(ctx, sub)
}

// batch is how many names are read at once: a job may leave a million of them.
const batch = 1024

// empty removes what is in dir. Reading goes on from the beginning after each batch: a
// position in a directory means little once entries before it are gone.
func empty(ctx context.Context, dir *os.Root) error {
	var first error
	for {
		names, err := read(dir)
		if err != nil {
			return cmp.Or(first, err)
		}
		stayed := 0
		for _, name := range names {
			if err := remove(ctx, dir, name); err != nil {
				first = cmp.Or(first, err)
				stayed++
			}
		}
		if len(names) < batch || stayed == len(names) {
			return first
		}
	}
}

func read(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written to it
	names, err := f.Readdirnames(batch)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

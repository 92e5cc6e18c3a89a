// Package tidy knows how to remove what jobs leave behind: trees that have
// directories in them which lost their write permission, as module caches of Go do.
// It follows no links and talks to the file system only.
package tidy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Remove removes the tree at path. One that is not there is no error.
func Remove(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walk := filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(at, 0o700) //nolint:gosec // a directory that is removed next
		}
		return err
	})
	return errors.Join(os.RemoveAll(path), walk)
}

// Empty removes what is in the directory dir. One that is not there is no error, and
// none is made.
func Empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

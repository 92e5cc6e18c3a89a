package imagebuild

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

const (
	partsPattern = ".dockless-parts-*"
	// partsGrace is how old a directory of parts is before it is taken for left:
	// it is locked at once after it was made.
	partsGrace = time.Minute
)

// partsDir is a directory for the parts of one image. The kernel unlocks it when
// its process dies, so that the next build removes what could be gigabytes.
type partsDir struct {
	path string
	lock *flock.Flock
}

// makePartsDir makes one in a directory, that of temporary files when it is empty,
// and removes there what processes that were killed have left.
func makePartsDir(in string) (*partsDir, error) {
	if in == "" {
		in = os.TempDir()
	}
	removeLeftParts(in, time.Now().Add(-partsGrace))
	path, err := os.MkdirTemp(in, partsPattern)
	if err != nil {
		return nil, fmt.Errorf("keeping the parts of the image: %w", err)
	}
	d := &partsDir{path: path, lock: flock.New(path, flock.SetFlag(os.O_RDONLY))}
	if _, err := d.lock.TryLock(); err != nil {
		return nil, errors.Join(fmt.Errorf("keeping the parts of the image: %w", err), d.remove())
	}
	return d, nil
}

func (d *partsDir) remove() error { return errors.Join(os.RemoveAll(d.path), d.lock.Close()) }

// removeLeftParts removes directories of parts that nobody has locked, as far as it
// may: those of other users stay, and so does what a link leads to.
func removeLeftParts(in string, before time.Time) {
	found, err := filepath.Glob(filepath.Join(in, partsPattern))
	if err != nil {
		return // not reached: the pattern is a good one, unless the directory's name is not
	}
	for _, path := range found {
		stat, err := os.Lstat(path)
		if err != nil || !stat.IsDir() || stat.ModTime().After(before) {
			continue
		}
		lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
		if free, err := lock.TryLock(); err == nil && free {
			_ = os.RemoveAll(path) // best effort, for somebody else
		}
		_ = lock.Close() // nothing was written
	}
}

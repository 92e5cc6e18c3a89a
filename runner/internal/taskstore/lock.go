package taskstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// lock takes the lock of the file at path, which other processes may hold, and
// waits for it until ctx ends; waiting is called when that takes longer than
// quiet. The kernel takes the lock back from a process that dies. The file
// stays: whoever removed it would leave two processes with a lock on two files
// of one name.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	said, start := false, time.Now()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // which gives the lock back
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = file.Close() // nothing was written
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if !said && time.Since(start) >= quiet {
			said = true
			waiting()
		}
		if err := retry.Wait(ctx, lockPause); err != nil {
			_ = file.Close() // as above
			return nil, err
		}
	}
}

// ofTheDisk reports whether err is what a disk answers that is full, broken or
// not ours to write, or a system that has too much open: nothing an archive can
// be blamed for.
func ofTheDisk(err error) bool {
	for _, e := range []error{
		fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

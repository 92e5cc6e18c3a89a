package plainfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// lockPause is how often a lock that somebody else holds is asked for.
	lockPause = 100 * time.Millisecond
	// quiet is how long it is waited for without a word: most are given back before,
	// and then nobody wonders.
	quiet = time.Second
)

// Lock is the lock of a file, which processes hold against each other.
type Lock struct {
	Path    string // the file is made when it is not there
	Shared  bool   // with all others who want it shared
	Waiting func() // told when it takes longer than a second; nil: nobody is
}

// Take takes the lock, and waits for it until ctx ends; it is asked for once at
// least. The kernel takes the lock back from a process that dies. The file stays:
// whoever removed it would leave two processes with a lock on two files of one name.
func (l Lock) Take(ctx context.Context) (release func() error, err error) {
	file, err := open(l.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if l.Shared {
		how = syscall.LOCK_SH
	}
	waiting, start := l.Waiting, time.Now()
	for {
		err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return file.Close, nil // which gives the lock back
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", l.Path, err), file.Close())
		}
		if waiting != nil && time.Since(start) >= quiet {
			waiting()
			waiting = nil
		}
		if err := retry.Wait(ctx, lockPause); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
}

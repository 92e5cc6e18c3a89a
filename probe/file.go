//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// pageMode lets every probe read the page and nobody else write it.
const pageMode = 0o644

const (
	// enterTurns and enterPause bound the wait for a process that makes or removes
	// the page at this moment, which takes it some microseconds.
	enterTurns = 200
	enterPause = 5 * time.Millisecond
)

// enter opens file path for writing and locks its header: for ourselves when nobody
// else has it open, and then we are alone; else, if we share, beside the others. The
// lock is bound to the open file, so it goes when the process does, however that
// happens.
func enter(path string, shared bool) (_ *os.File, alone bool, _ error) {
	for range enterTurns {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, pageMode)
		if err != nil {
			return nil, false, err
		}
		in, alone, err := step(file, path)
		if err == nil && in && !alone && !shared {
			err = fmt.Errorf("others share it: %w", ErrOwned)
		}
		if err == nil && in {
			return file, alone, nil
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, false, err
		}
		<-time.After(enterPause)
	}
	return nil, false, ErrOwned
}

// step reports whether we got into file, and it still is the one at path: who
// removes the page may do so between our opening and locking it.
func step(file *os.File, path string) (in, alone bool, _ error) {
	mine, err := file.Stat()
	if err != nil {
		return false, false, err
	}
	stat, ok := mine.Sys().(*syscall.Stat_t)
	switch {
	case !mine.Mode().IsRegular():
		return false, false, errors.New("it is not a regular file")
	case ok && int(stat.Uid) != os.Geteuid():
		// In a directory everyone may write to, whoever made the file could
		// still have it open and write beats of their own.
		return false, false, fmt.Errorf("it belongs to user %d, not to %d", stat.Uid, os.Geteuid())
	}
	for _, kind := range []int16{syscall.F_WRLCK, syscall.F_RDLCK} {
		got, errno := lockHeader(file, kind)
		if errno != 0 {
			return false, false, fmt.Errorf("locking it: %w", errno)
		}
		if got {
			there, err := os.Lstat(path)
			if errors.Is(err, os.ErrNotExist) {
				return false, false, nil
			}
			return err == nil && os.SameFile(mine, there), kind == syscall.F_WRLCK, err
		}
	}
	return false, false, nil
}

// lockHeader takes, or changes, our lock of the page's header. It reports false
// when another process' lock is in the way.
func lockHeader(file *os.File, kind int16) (bool, syscall.Errno) {
	_, errno := lock(int(file.Fd()), ofdSetLock, kind, 0, headerWords*8)
	if isHeld(errno) {
		return false, 0
	}
	return errno == 0, errno
}

// leave removes the file unless others have the page open. While we do, the lock
// keeps everybody away from a file that is about to go.
func (w *Writer) leave() error {
	alone, errno := lockHeader(w.file, syscall.F_WRLCK)
	if errno != 0 {
		return fmt.Errorf("locking it: %w", errno)
	}
	if !alone {
		// Closing the file does not end the lock: the mapping, which stays, is one
		// more user of it.
		if _, errno := lockHeader(w.file, syscall.F_UNLCK); errno != 0 {
			return fmt.Errorf("unlocking it: %w", errno)
		}
		return nil
	}
	mine, err := w.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(w.path)
	if err == nil && os.SameFile(mine, there) {
		err = os.Remove(w.path)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

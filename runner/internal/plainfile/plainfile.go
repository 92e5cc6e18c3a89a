// Package plainfile knows how to open, lock and replace plain files in folders
// that others write to as well. A job may have put a link, a pipe or a device in
// the place of any of them: that is refused, and nobody waits for it.
package plainfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotPlain says that something else has the path of a file.
var ErrNotPlain = errors.New("it is no plain file")

// Open opens the file at path to be read. It returns an error that wraps
// [ErrNotPlain] when that is no file.
func Open(path string) (*os.File, error) { return open(path, os.O_RDONLY, 0) }

// open opens a file with no wait: that of a pipe would last until somebody opens
// its other end.
func open(path string, flag int, mode fs.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, mode)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) { // a link; a socket
		err = ErrNotPlain
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotPlain
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return file, nil
}

// Read returns what is in the file at path. It fails when that is more than most
// bytes.
func Read(path string, most int64) ([]byte, error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("reading %s: it has more than %d bytes", path, most)
	}
	return data, nil
}

// Replace gives path a new file that others see whole or not at all. It is written
// as temporary, in a folder of the same file system. What is there is removed; of
// two calls at once each needs a name of its own.
func Replace(temporary, path string, content io.Reader, mode fs.FileMode) (err error) {
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) // no link, for it is new
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temporary))
		}
	}()
	_, err = io.Copy(file, content)
	// After the machine itself went down, a name must not be there without content.
	if err := errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

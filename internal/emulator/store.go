package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// appendFile is a file that grows. It is made by the first append, so that a
// job without output costs no file, and kept on disk, so that a gigabyte of log
// costs no memory. Its methods may be called concurrently.
type appendFile struct {
	path string

	mu     sync.Mutex
	file   *os.File
	closed bool
}

// append adds what from holds and returns how many bytes and lines that was. It
// adds nothing when from fails: whoever sends it again must not double it.
func (f *appendFile) append(from io.Reader) (size, lines int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return 0, 0, err
	}
	before, err := f.file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, fmt.Errorf("writing %s: %w", f.path, err)
	}
	count := &lineCounter{}
	if size, err = io.Copy(f.file, io.TeeReader(from, count)); err != nil {
		return 0, 0, fmt.Errorf("writing %s: %w", f.path, errors.Join(err, f.file.Truncate(before)))
	}
	return size, count.lines, nil
}

func (f *appendFile) open() error {
	switch {
	case f.closed:
		return fmt.Errorf("writing %s: %w", f.path, fs.ErrClosed)
	case f.file != nil:
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	f.file = file
	return nil
}

// read opens the file for reading from its start; a file that was never
// written to is empty. The caller closes it.
func (f *appendFile) read() (io.ReadCloser, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(eof{}), nil
	}
	return file, err
}

// pause closes the file until the next append: a finished job keeps none open.
func (f *appendFile) pause() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// close ends the file; later appends fail.
func (f *appendFile) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	return f.pause()
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// lineCounter counts line ends.
type lineCounter struct{ lines int64 }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.lines += int64(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}

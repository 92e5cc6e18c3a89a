//go:build unix && !linux

package conceal

import (
	"os"
	"syscall"
)

// Veil hides nothing on this system. Only a nil one can be had.
type Veil struct{}

// Check returns [ErrImpossible] when there are files.
func Check(files []string) error {
	_, err := New(files)
	return err
}

// New returns nil when there are no files, else [ErrImpossible].
func New(files []string) (*Veil, error) {
	if len(files) == 0 {
		return nil, nil //nolint:nilnil // a nil Veil is one that hides nothing
	}
	return nil, impossible("run the agent on Linux", "this system has no Landlock")
}

// Do calls f.
func (*Veil) Do(f func() error) error { return f() }

// Open is os.Open. It does not wait for the writer of a pipe.
func (*Veil) Open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// Close does nothing.
func (*Veil) Close() error { return nil }

//go:build !linux

package conceal

import "os"

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

// Restrict does nothing.
func (*Veil) Restrict() error { return nil }

// Open is os.OpenFile for reading.
func (*Veil) Open(path string, flag int) (*os.File, error) { return os.OpenFile(path, flag, 0) }

// Close does nothing.
func (*Veil) Close() error { return nil }

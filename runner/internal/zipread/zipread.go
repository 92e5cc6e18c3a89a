// Package zipread knows how to open a zip that a stranger has made: its table of
// contents is read into memory before its lines can be counted, so that is bounded.
package zipread

import (
	"archive/zip"
	"errors"
	"io"
)

// ErrDirectory says that the table of contents of a zip is too large.
var ErrDirectory = errors.New("its table of contents is too large")

// Open opens a zip of size bytes whose table of contents takes no more than most
// bytes, or fails with [ErrDirectory]. Any other error says that it is no zip. Files in
// it are read from from.
func Open(from io.ReaderAt, size, most int64) (*zip.Reader, error) {
	contents := &bounded{from: from, left: most}
	z, err := zip.NewReader(contents, size)
	switch {
	case contents.left < 0:
		return nil, ErrDirectory
	case err != nil:
		return nil, err
	}
	contents.open = true
	return z, nil
}

// bounded reads an archive, and at first no more than left bytes of it.
type bounded struct {
	from io.ReaderAt
	left int64
	open bool // no bound any more
}

// ReadAt implements io.ReaderAt.
func (b *bounded) ReadAt(p []byte, at int64) (int, error) {
	if !b.open {
		if b.left -= int64(len(p)); b.left < 0 {
			return 0, ErrDirectory
		}
	}
	return b.from.ReadAt(p, at)
}

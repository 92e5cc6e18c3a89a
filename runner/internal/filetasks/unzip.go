package filetasks

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/dockless-ci/dockless/runner/internal/zipread"
)

// maxDirectory bounds the table of contents of a zip, in bytes, which is read
// into memory before its lines can be counted: of half a million of them.
const maxDirectory = 64 << 20

// maxTarget bounds the target of a link, in bytes: what Linux takes as a path.
const maxTarget = 4096

// readZip opens a zip.
func readZip(from io.ReaderAt, size int64) (*zip.Reader, error) {
	z, err := zipread.Open(from, size, maxDirectory)
	switch {
	case errors.Is(err, zipread.ErrDirectory):
		return nil, fmt.Errorf("%w: it has more than %d MiB", err, maxDirectory>>20)
	case err != nil:
		return nil, fmt.Errorf("it is no zip: %w", err)
	}
	return z, nil
}

func (x *extraction) zip(ctx context.Context, from io.ReaderAt, size int64) error {
	z, err := readZip(from, size)
	if err != nil {
		return err
	}
	for _, f := range z.File {
		if err := x.zipEntry(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// systems of the makers of zips whose names may have backslashes (APPNOTE 4.4.2).
const (
	systemFAT  = 0
	systemNTFS = 10
	systemVFAT = 14
)

// encrypted is the flag of an entry that needs a password (APPNOTE 4.4.4).
const encrypted = 1

func (x *extraction) zipEntry(ctx context.Context, f *zip.File) error {
	name := f.Name
	switch f.CreatorVersion >> 8 {
	case systemFAT, systemNTFS, systemVFAT:
		name = strings.ReplaceAll(name, `\`, "/")
	}
	mode := f.Mode()
	e, err := x.entry(ctx, name, mode, f.Modified)
	if err != nil {
		return err
	}
	if mode.IsDir() || strings.HasSuffix(name, "/") {
		return x.directory(e)
	}
	if mode.Perm() == 0 { // its maker knows of no modes
		e.mode |= 0o644
	}
	if f.Flags&encrypted != 0 {
		return e.wrap(errors.New("it is encrypted"))
	}
	from, err := f.Open()
	if err != nil {
		return e.wrap(err)
	}
	defer from.Close() //nolint:errcheck // read only
	switch {
	case mode&fs.ModeSymlink != 0:
		target, err := io.ReadAll(io.LimitReader(from, maxTarget+1))
		if err == nil && len(target) > maxTarget {
			err = fmt.Errorf("its link leads to a path of more than %d bytes", maxTarget)
		}
		if err != nil {
			return e.wrap(err)
		}
		return x.link(e, string(target))
	case mode.IsRegular():
		return x.file(ctx, e, from)
	}
	return e.wrap(errors.New("it is neither a file nor a directory"))
}

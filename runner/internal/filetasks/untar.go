package filetasks

import (
	"archive/tar"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/runner/internal/step"
)

func (x *extraction) tar(ctx context.Context, form form, file *os.File, name string) error {
	var from io.Reader = file
	switch form {
	case tarredGzip:
		z, err := gzip.NewReader(file)
		if err != nil {
			return fmt.Errorf("it is no gzip: %w", err)
		}
		from = z
	case tarredBzip2:
		from = bzip2.NewReader(file)
	case tarredXz:
		plain, err := x.unxz(ctx, file)
		if err != nil {
			return err
		}
		defer plain.Close() //nolint:errcheck // read only
		from = plain
	}
	r := tar.NewReader(from)
	for n := 0; ; n++ {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if n == 0 {
				return fmt.Errorf("%s is no tar: %w", filepath.Base(name), err)
			}
			return err
		}
		if err := x.tarEntry(ctx, header, r); err != nil {
			return err
		}
	}
}

func (x *extraction) tarEntry(ctx context.Context, h *tar.Header, from io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader { // a remark, as git archive makes one
		return nil
	}
	e, err := x.entry(ctx, h.Name, h.FileInfo().Mode(), h.ModTime)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return x.directory(e)
	case tar.TypeReg, tar.TypeGNUSparse:
		return x.file(ctx, e, from)
	case tar.TypeSymlink:
		return x.link(e, h.Linkname)
	case tar.TypeLink:
		return x.hardLink(e, h.Linkname)
	}
	return e.wrap(errors.New("it is neither a file, a directory nor a link"))
}

// unxz lets the program xz unpack file, beside the other short-lived files of the
// job, and opens what comes out. Whoever closes that removes it.
func (x *extraction) unxz(ctx context.Context, file *os.File) (_ *os.File, err error) {
	plain := filepath.Join(x.step.Temp(), uuid.NewString())
	packed := plain + ".xz"
	defer func() { _ = os.Remove(packed) }() // gone when xz could read it
	defer func() { _ = os.Remove(plain) }()  // once it is open nobody needs its name
	if err := save(ctx, packed, io.NewSectionReader(file, 0, 1<<62)); err != nil {
		return nil, err
	}
	room, err := space(x.step.Temp())
	if err != nil {
		return nil, err
	}
	full := func() bool {
		info, err := os.Stat(plain)
		return err == nil && info.Size() > room
	}
	if err := watched(ctx, full, func(ctx context.Context) error {
		return x.step.Run(ctx, step.Program{Path: "xz", Args: []string{"--decompress", "--", packed}})
	}); err != nil {
		return nil, missing(err, "xz")
	}
	return x.step.Open(plain)
}

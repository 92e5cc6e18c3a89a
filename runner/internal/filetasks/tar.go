package filetasks

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// tar writes a tar. Like the program tar it keeps links as they are.
func (a *archive) tar(ctx context.Context, file string) error {
	if err := a.tarFile(ctx, file); err != nil {
		return err
	}
	switch a.compression {
	case "bz2":
		return compress(ctx, a.step, "bzip2", ".bz2", file)
	case "xz":
		return compress(ctx, a.step, "xz", ".xz", file)
	}
	return nil
}

func (a *archive) tarFile(ctx context.Context, file string) (err error) {
	out, err := create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var w io.Writer = out
	if a.compression == "gz" {
		z := gzip.NewWriter(out)
		defer func() { err = errors.Join(err, z.Close()) }()
		w = z
	}
	t := tar.NewWriter(w)
	if err := a.keepTar(ctx, t); err != nil {
		return err
	}
	temporary, err := out.Stat()
	if err != nil {
		return err
	}
	for _, name := range a.names {
		err := filepath.WalkDir(filepath.Join(a.base, name), func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				err = a.tarEntry(ctx, t, path, temporary)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return t.Close()
}

// keepTar takes over the entries of the old archive; later ones of the same name
// win when it is unpacked.
func (a *archive) keepTar(ctx context.Context, t *tar.Writer) error {
	if !a.add {
		return nil
	}
	old, _, err := opened(a.step, a.file)
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // read only
	r := tar.NewReader(old)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("adding to it: %w", err)
		}
		if err := t.WriteHeader(header); err != nil {
			return fmt.Errorf("keeping its entry %q: %w", header.Name, err)
		}
		if err := copied(ctx, t, r); err != nil {
			return fmt.Errorf("keeping its entry %q: %w", header.Name, err)
		}
	}
}

func (a *archive) tarEntry(ctx context.Context, t *tar.Writer, path string, temporary fs.FileInfo) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case a.skips(info) || os.SameFile(info, temporary):
		return nil
	case info.Mode()&fs.ModeSocket != 0:
		a.step.Warning("left out, because it is a socket: " + path)
		return nil
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	name, err := a.entryName(path)
	if err != nil {
		return err
	}
	if a.verbose {
		a.step.Print(printable(name))
	}
	if info.Mode().IsRegular() {
		return a.tarRegular(ctx, t, path, name)
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.ModTime = name, info.ModTime().Truncate(time.Second) // or it is rounded into the future
	if info.IsDir() {
		header.Name += "/"
	}
	return t.WriteHeader(header)
}

func (a *archive) tarRegular(ctx context.Context, t *tar.Writer, path, name string) error {
	from, info, err := opened(a.step, path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	header.Name, header.ModTime = name, info.ModTime().Truncate(time.Second)
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	// A log may grow meanwhile; what its header promised is what is packed.
	if err := copied(ctx, t, io.LimitReader(from, header.Size)); err != nil {
		return fmt.Errorf("packing %s: %w", path, err)
	}
	return nil
}

// compress replaces file by what the program makes of it.
func compress(ctx context.Context, s step.Step, program, end, file string) error {
	defer os.Remove(file + end) //nolint:errcheck // it is there only when something went wrong
	if err := s.Run(ctx, step.Program{Path: program, Args: []string{"--force", "--", file}}); err != nil {
		return missing(err, program)
	}
	return os.Rename(file+end, file)
}

// missing adds what to do when a program is not there.
func missing(err error, program string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if program == "xz" {
		program = "xz-utils"
	}
	return hint.With(err, "install %s in the agent's image, or use another format", program)
}

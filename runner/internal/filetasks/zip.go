package filetasks

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dockless-ci/dockless/runner/internal/match"
)

// zip writes a zip. Like the program zip it follows links and leaves out what is
// neither a file nor a directory.
func (a *archive) zip(ctx context.Context, file string) (err error) {
	var paths []string
	for _, name := range a.names {
		found, err := match.Walk(ctx, filepath.Join(a.base, name))
		if err != nil {
			return err
		}
		paths = append(paths, found...)
	}
	out, err := create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z := zip.NewWriter(out)
	if err := a.keep(z, paths); err != nil {
		return err
	}
	for _, path := range paths {
		if err := a.zipEntry(ctx, z, path); err != nil {
			return err
		}
	}
	return z.Close()
}

// entryName is what path is called in the archive.
func (a *archive) entryName(path string) (string, error) {
	rel, err := filepath.Rel(a.base, path)
	return filepath.ToSlash(rel), err
}

// keep takes over the entries of the old archive that are not packed anew.
func (a *archive) keep(z *zip.Writer, paths []string) error {
	if !a.add {
		return nil
	}
	anew := make(map[string]bool)
	for _, path := range paths {
		name, err := a.entryName(path)
		if err != nil {
			return err
		}
		anew[name], anew[name+"/"] = true, true
	}
	old, info, err := opened(a.step, a.file)
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // read only
	r, err := readZip(old, info.Size())
	if err != nil {
		return fmt.Errorf("adding to it: %w", err)
	}
	for _, entry := range r.File {
		if anew[entry.Name] {
			continue
		}
		if err := z.Copy(entry); err != nil {
			return fmt.Errorf("keeping its entry %q: %w", entry.Name, err)
		}
	}
	return nil
}

func (a *archive) zipEntry(ctx context.Context, z *zip.Writer, path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.step.Warning("left out, because the link leads nowhere: " + path)
		return nil
	case err != nil:
		return err
	case a.skips(info):
		return nil
	case !info.IsDir() && !info.Mode().IsRegular():
		a.step.Warning("left out, because it is no file: " + path)
		return nil
	}
	name, err := a.entryName(path)
	if err != nil {
		return err
	}
	if !a.quiet || a.verbose {
		a.step.Print("  adding: " + printable(name))
	}
	if info.IsDir() {
		header, err := zip.FileInfoHeader(info)
		if err != nil {
			return err
		}
		header.Name, header.Method = name+"/", zip.Store
		_, err = z.CreateHeader(header)
		return err
	}
	from, info, err := opened(a.step, path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	header, err := zip.FileInfoHeader(info)
	if err != nil {
		return err
	}
	header.Name, header.Method = name, zip.Deflate
	w, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	return copied(ctx, w, from)
}

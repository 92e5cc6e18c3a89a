package podmanrun

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// CopyOut copies a path out of a container of a service, which need not run. The
// copy is called to; inside it when it is a directory. A path that ends with "/."
// is the content of a directory. Owners are not kept.
func (c *Client) CopyOut(ctx context.Context, of ContainerOf, from, to string) error {
	content := strings.HasSuffix(from, "/.") && path.Clean(from) != "/"
	archive, err := c.ArchiveOut(ctx, of, path.Clean(from))
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }() // everything of interest has been read
	dir, name := filepath.Split(filepath.Clean(to))
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		dir, name = to, ""
	} else if strings.HasSuffix(to, string(filepath.Separator)) {
		return fmt.Errorf("copying to %s: there is no such directory", to)
	}
	if dir == "" {
		dir = "."
	}
	if err := unpack(archive, dir, name, content); err != nil {
		return fmt.Errorf("copying %s of service %s to %s: %w", from, of.Service, to, err)
	}
	return nil
}

// ArchiveOut returns a path of a container as a tar archive; the caller closes it.
func (c *Client) ArchiveOut(ctx context.Context, of ContainerOf, from string) (io.ReadCloser, error) {
	l, err := c.container(ctx, of)
	if err != nil {
		return nil, err
	}
	archive, err := c.api.GetArchive(ctx, l.ID, l.Name(), from)
	if libpod.HasStatus(err, http.StatusNotFound) {
		return nil, fmt.Errorf("service %s has no %s", of.Service, from)
	}
	return archive, err
}

// CopyIn copies a file or directory into a container of a service, which need not
// run; for replica zero into all of them. The copy is called to; inside it when it
// is a directory. A path that ends with "/." is the content of a directory. It
// belongs to the container's root.
func (c *Client) CopyIn(ctx context.Context, of ContainerOf, from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("copying to service %s: %w", of.Service, err)
	}
	base, err := baseOf(from)
	if err != nil {
		return fmt.Errorf("copying to service %s: %w", of.Service, err)
	}
	list, err := c.replicas(ctx, of)
	if err != nil {
		return err
	}
	for _, l := range list {
		if err := c.copyIn(ctx, l, from, base, to, info.IsDir()); err != nil {
			return fmt.Errorf("copying to service %s: %w", subject(of.Service, replicaIn(l, list)), err)
		}
	}
	return nil
}

// baseOf is the name that a copy of a path has; "." for the content of a directory.
func baseOf(from string) (string, error) {
	if from == "." || strings.HasSuffix(from, "/.") {
		return ".", nil
	}
	absolute, err := filepath.Abs(from) // the name of .. is not in it
	if err != nil || absolute == "/" {
		return ".", err
	}
	return filepath.Base(absolute), nil
}

func (c *Client) copyIn(ctx context.Context, l libpod.Listed, from, base, to string, isDir bool) error {
	dir, name, err := c.place(ctx, l, to, base, isDir)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := pack(w, from, name)
		_ = w.CloseWithError(err) // never fails
		return err
	})
	err = c.api.PutArchive(ctx, l.ID, l.Name(), dir, r)
	_ = r.CloseWithError(io.ErrClosedPipe) // never fails
	if perr := g.Wait(); perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return perr
	}
	return err
}

// ArchiveIn unpacks a tar archive into a directory of a container; for replica zero
// into that of all of them, at the same time. Owners are those of the archive. When
// it returns an error, a Read of archive may be outstanding.
func (c *Client) ArchiveIn(ctx context.Context, of ContainerOf, archive io.Reader, to string) error {
	list, err := c.replicas(ctx, of)
	if err != nil {
		return err
	}
	var g errgroup.Group
	var copies []io.Writer
	for _, l := range list {
		r, w := io.Pipe()
		copies = append(copies, w)
		g.Go(func() error {
			stop := context.AfterFunc(ctx, func() { _ = r.CloseWithError(context.Cause(ctx)) }) // never fails
			defer stop()
			// A plain Reader: what is behind the archive's end is for nobody, but is read.
			err := c.api.PutArchive(ctx, l.ID, l.Name(), to, struct{ io.Reader }{r})
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				err = fmt.Errorf("copying to service %s: %w", subject(of.Service, replicaIn(l, list)), err)
			}
			_ = r.CloseWithError(err) // never fails
			return err
		})
	}
	go func() {
		// Nobody waits for it, because a Read of standard input cannot be called off.
		_, err := io.Copy(io.MultiWriter(copies...), archive)
		for _, w := range copies {
			_ = w.(*io.PipeWriter).CloseWithError(err) // never fails
		}
	}()
	return g.Wait()
}

// place says into which directory of a container something goes, and under which
// name there.
func (c *Client) place(ctx context.Context, l libpod.Listed, to, base string, isDir bool) (dir, name string, err error) {
	there, err := c.api.StatPath(ctx, l.ID, l.Name(), to)
	switch {
	case err == nil && there.Mode&os.ModeSymlink != 0 && there.LinkTarget != "":
		if there, err = c.api.StatPath(ctx, l.ID, l.Name(), there.LinkTarget); err != nil {
			return "", "", err
		}
	case libpod.HasStatus(err, http.StatusNotFound):
		if strings.HasSuffix(to, "/") && !isDir {
			return "", "", fmt.Errorf("there is no directory %s", to)
		}
		there = nil
	case err != nil:
		return "", "", err
	}
	if there != nil && there.Mode.IsDir() {
		return to, base, nil
	}
	if there != nil && isDir {
		return "", "", fmt.Errorf("%s is no directory", to)
	}
	return path.Dir(path.Clean(to)), path.Base(path.Clean(to)), nil
}

// pack writes a file, or a directory and everything in it, as a tar archive in
// which it is called name; "." is a directory's content. Links stay links.
func pack(w io.Writer, from, name string) error {
	archive := tar.NewWriter(w)
	from = filepath.Clean(from)
	if resolved, err := filepath.EvalSymlinks(from); err == nil {
		from = resolved // what was named is copied, not a link to it
	}
	err := filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		return packOne(archive, file, path.Join(name, filepath.ToSlash(rel)), info)
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

func packOne(archive *tar.Writer, file, name string, info fs.FileInfo) error {
	if name == "." {
		return nil // the directory that it goes to is there
	}
	if mode := info.Mode(); !mode.IsRegular() && !mode.IsDir() && mode&fs.ModeSymlink == 0 {
		return nil // sockets, pipes and devices mean nothing elsewhere
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = name, 0, 0, "", ""
	if info.IsDir() {
		header.Name += "/"
	}
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	_, err = io.CopyN(archive, f, header.Size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s became shorter while it was read", file)
	}
	return err
}

// maxEntry bounds one file of an archive: no more is promised of a container that
// tests run in.
const maxEntry = 64 << 30

// unpack writes an archive of one file or directory into dir, where it is called
// name, or as in the archive when name is empty. Of a directory's content, the
// directory itself is left out. Nothing gets out of dir, whatever the archive and
// the links in it say.
func unpack(r io.Reader, dir, name string, content bool) error {
	if content && name != "" {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as any directory that a command makes
			return err
		}
		dir, name = filepath.Join(dir, name), ""
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // only a handle
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		place := placeOf(header.Name, name, content)
		if place == "" {
			continue
		}
		if header.Typeflag == tar.TypeLink { // to an entry, which has its place too
			header.Linkname = placeOf(header.Linkname, name, content)
		}
		if err := unpackOne(root, archive, header, place); err != nil {
			return err
		}
	}
}

// placeOf is where an entry of an archive goes, below the directory it is unpacked
// into; empty for what is left out.
func placeOf(entry, name string, content bool) string {
	parts := slices.DeleteFunc(strings.Split(path.Clean("/"+entry), "/"), func(p string) bool { return p == "" })
	switch {
	case content && len(parts) > 0:
		parts = parts[1:]
	case name != "" && len(parts) > 0:
		parts[0] = name
	}
	return filepath.Join(parts...)
}

func unpackOne(root *os.Root, content io.Reader, header *tar.Header, name string) error {
	mode := fs.FileMode(header.Mode) & fs.ModePerm //nolint:gosec // nine bits of it
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, mode|0o700) // what follows goes into it
	case tar.TypeReg:
		if header.Size > maxEntry {
			return fmt.Errorf("%s has %d bytes", name, header.Size)
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	case tar.TypeSymlink, tar.TypeLink:
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if header.Typeflag == tar.TypeLink {
			return root.Link(header.Linkname, name)
		}
		return root.Symlink(header.Linkname, name)
	}
	return nil // devices, sockets and pipes mean nothing elsewhere
}

package taskstore

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/zipread"
)

// What a package may hold. Published packages stay below 100 MB and some
// thousand files, most of them in node_modules; the bounds leave ten times that
// and end an archive made to fill a disk.
const (
	maxFiles = 100_000 // and directories
	maxBytes = 2 << 30
	// maxDirectory bounds the archive's own table of contents, in bytes, which is
	// read into memory before its lines can be counted. A line takes 46 and the
	// path, together about 120. Of the shortest lines a quarter of a million fit
	// in, in 50 MB of memory.
	maxDirectory = maxFiles * 120
	// maxName bounds the path of an entry, in bytes, and maxDepth its parts: some
	// times what packages in packages in node_modules need. Removing a tree holds
	// a directory open for each level, and a process may hold 1024.
	maxName  = 1024
	maxDepth = 64
	// maxLink bounds the target of a link, in bytes: what Linux takes as a path.
	maxLink = 4096
)

var errLarge = fmt.Errorf("%w: it holds more than %d files and directories or %d GiB", ErrPackage, maxFiles, maxBytes>>30)

// unpack extracts the archive into the new directory dir. Nothing is written
// outside of it, whatever the names in the archive say, and no link in it leads
// out. It returns an error that wraps [ErrPackage] for an archive that tries, or
// that is none.
func unpack(ctx context.Context, archive, dir string) (err error) {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // read only
	info, err := file.Stat()
	if err != nil {
		return err
	}
	z, err := zipread.Open(file, info.Size(), maxDirectory)
	switch {
	case errors.Is(err, zipread.ErrDirectory):
		return errLarge
	case err != nil:
		return fmt.Errorf("%w: %w", ErrPackage, err)
	}
	if err := survey(z.File); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // containers of the job read it as other users
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &extraction{root: root, left: maxBytes}
	for _, entry := range z.File {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := x.entry(entry); err != nil {
			return err
		}
	}
	return x.linkAll()
}

// survey refuses archives with too many entries, or with paths that nothing
// should be made for. Directories count too: one short entry can ask for many.
func survey(entries []*zip.File) error {
	if len(entries) > maxFiles {
		return errLarge
	}
	dirs := make(map[string]bool)
	for _, e := range entries {
		name := path.Clean(e.Name)
		switch {
		case len(e.Name) > maxName || strings.Count(name, "/") >= maxDepth:
			return fmt.Errorf("%w: the path of its entry %.40q… has more than %d bytes or %d parts", ErrPackage, e.Name, maxName, maxDepth)
		case !filepath.IsLocal(e.Name) || strings.ContainsRune(e.Name, 0):
			return hint.With(fmt.Errorf("%w: its entry %q leads out of it", ErrPackage, e.Name), "ask whoever publishes the task about this package")
		case !e.Mode().IsDir():
			name = path.Dir(name)
		}
		for ; name != "." && !dirs[name]; name = path.Dir(name) {
			dirs[name] = true
		}
		if len(entries)+len(dirs) > maxFiles {
			return errLarge
		}
	}
	return nil
}

// extraction writes the entries of one archive. Its root refuses every path
// that leaves it, by name or through a link.
type extraction struct {
	root  *os.Root
	left  int64 // bytes that may still be written
	links []link
}

type link struct{ name, target string }

func (x *extraction) entry(e *zip.File) error {
	name := path.Clean(e.Name)
	switch mode := e.Mode(); {
	case mode.IsDir():
		return x.wrap(x.root.MkdirAll(name, 0o755))
	case mode.IsRegular():
		return x.file(e, name)
	case mode&fs.ModeSymlink != 0:
		target, err := x.text(e)
		if err != nil {
			return err
		}
		x.links = append(x.links, link{name, target})
		return nil
	default:
		return fmt.Errorf("%w: its entry %q is neither a file nor a directory", ErrPackage, e.Name)
	}
}

// file writes one file. Of its mode only "executable" counts; the rest belongs
// to the machine that made the archive.
func (x *extraction) file(e *zip.File, name string) error {
	if err := x.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return x.wrap(err)
	}
	mode := fs.FileMode(0o644)
	if e.Mode()&0o111 != 0 {
		mode = 0o755
	}
	from, err := e.Open()
	if err != nil {
		return fmt.Errorf("%w: its entry %q: %w", ErrPackage, e.Name, err)
	}
	defer from.Close() //nolint:errcheck // read only
	to, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return x.wrap(err)
	}
	written, err := copyBounded(to, from, x.left)
	x.left -= written
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	return x.wrap(err)
}

// copyBounded copies at most limit bytes; more of them are errLarge. What goes
// wrong while reading is the archive's fault.
func copyBounded(to io.Writer, from io.Reader, limit int64) (int64, error) {
	source := &reading{from: from}
	n, err := io.Copy(to, io.LimitReader(source, limit+1))
	switch {
	case n > limit:
		return n, errLarge
	case source.err != nil:
		return n, fmt.Errorf("%w: %w", ErrPackage, source.err)
	}
	return n, err
}

// reading keeps the error of a reader apart from that of a writer.
type reading struct {
	from io.Reader
	err  error
}

// Read implements io.Reader.
func (r *reading) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// text reads the target of a link.
func (x *extraction) text(e *zip.File) (string, error) {
	from, err := e.Open()
	if err != nil {
		return "", fmt.Errorf("%w: its entry %q: %w", ErrPackage, e.Name, err)
	}
	defer from.Close() //nolint:errcheck // read only
	var target strings.Builder
	if _, err := copyBounded(&target, from, maxLink); err != nil {
		return "", err
	}
	return target.String(), nil
}

// linkAll makes the links once all files are there, so that nothing is written
// through one, and then follows each of them: only the root can tell where a
// link that goes through other links ends.
func (x *extraction) linkAll() error {
	for _, l := range x.links {
		if err := x.root.MkdirAll(path.Dir(l.name), 0o755); err != nil {
			return x.wrap(err)
		}
		if err := x.root.Symlink(l.target, l.name); err != nil {
			return x.wrap(err)
		}
	}
	for _, l := range x.links {
		if _, err := x.root.Stat(l.name); err != nil {
			return fmt.Errorf("%w: its link %q does not lead to one of its files", ErrPackage, l.name)
		}
	}
	return nil
}

// wrap calls what the archive is to blame for by its name: a path that is taken
// or that leaves the root. What the disk refuses stays as it is.
func (x *extraction) wrap(err error) error {
	if err == nil || errors.Is(err, ErrPackage) || ofTheDisk(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrPackage, err)
}

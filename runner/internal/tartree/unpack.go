package tartree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/untildone"
)

// ErrArchive says that a tar is none, or holds what must not be written.
var ErrArchive = errors.New("the archive cannot be used")

// Unpack writes the tree of a tar into dir, which is made when it is not there.
// Files that are there are replaced; other ones stay. Links are made as they are,
// but nothing is written through them: a path that leads out of dir, by name or
// through a link, is an [ErrArchive], as is an entry that is neither file,
// directory nor link.
func Unpack(ctx context.Context, from io.Reader, dir string, l Limits) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as other directories of a workspace
		return fmt.Errorf("making the directory %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("opening the directory %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	u := &unpacking{root: root, left: l.orDefault(), made: make(map[string]bool)}
	archive := tar.NewReader(untildone.Reader(ctx, from))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if err := u.entry(header, archive); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
}

// unpacking is one call of [Unpack]. Links come after all files, so that no file of
// the tar is written through a link of the tar; modes and times of directories come
// last, because a directory may be closed to writing.
type unpacking struct {
	root  *os.Root
	left  Limits
	links []*tar.Header
	dirs  []*tar.Header
	made  map[string]bool // files of this tar, which hard links may name
}

func (u *unpacking) entry(h *tar.Header, content io.Reader) error {
	if err := u.left.admit(h); err != nil {
		return fmt.Errorf("%w: %w", ErrArchive, err)
	}
	name, local := clean(h.Name)
	if !local {
		return hint.With(fmt.Errorf("%w: its entry %q leads out of it", ErrArchive, h.Name), "find out who wrote it")
	}
	h.Name = name
	switch h.Typeflag {
	case tar.TypeDir:
		u.dirs = append(u.dirs, h)
		return u.blame(u.directory(name))
	case tar.TypeReg:
		return u.blame(u.file(h, content))
	case tar.TypeSymlink:
		u.links = append(u.links, h)
		return nil
	case tar.TypeLink:
		return u.blame(u.hardLink(h))
	case tar.TypeXGlobalHeader:
		return nil
	}
	return fmt.Errorf("%w: its entry %q is neither a file, a directory nor a link", ErrArchive, name)
}

// directory makes a directory that can be written to for now.
func (u *unpacking) directory(name string) error {
	if name == "." {
		return nil
	}
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	return u.open(name)
}

// open lets a directory be written to until the end.
func (u *unpacking) open(name string) error {
	info, err := u.root.Stat(name)
	if err != nil || info.Mode().Perm()&0o700 == 0o700 {
		return err
	}
	return u.root.Chmod(name, info.Mode().Perm()|0o700)
}

// clear makes room for an entry: its directory is there, and nothing of its name.
func (u *unpacking) clear(name string) error {
	if name == "." {
		return errors.New("the directory itself is no directory")
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := u.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	info, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory already", name)
	}
	return u.root.Remove(name)
}

func (u *unpacking) file(h *tar.Header, content io.Reader) error {
	if err := u.clear(h.Name); err != nil {
		return err
	}
	file, err := u.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, content); err != nil {
		_ = file.Close() // the other error counts
		return err
	}
	err = file.Chmod(permissions(h))
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	u.made[h.Name] = true
	return u.times(h)
}

// permissions are those of an entry, without set-uid, set-gid and sticky bits: they
// are nobody's to bring along.
func permissions(h *tar.Header) fs.FileMode { return fs.FileMode(h.Mode) & fs.ModePerm } //nolint:gosec // masked

// hardLink makes another name of a file of the same tar.
func (u *unpacking) hardLink(h *tar.Header) error {
	target, local := clean(h.Linkname)
	if !local || !u.made[target] {
		return fmt.Errorf("%w: its link %q does not lead to one of its files", ErrArchive, h.Name)
	}
	if err := u.clear(h.Name); err != nil {
		return err
	}
	u.made[h.Name] = true
	return u.root.Link(target, h.Name)
}

// finish makes links, and gives directories their modes and times, those deepest
// first.
func (u *unpacking) finish() error {
	for _, h := range u.links {
		if err := u.clear(h.Name); err != nil {
			return u.blame(err)
		}
		if err := u.root.Symlink(h.Linkname, h.Name); err != nil {
			return u.blame(err)
		}
	}
	for _, h := range slices.Backward(u.dirs) {
		if err := u.settle(h); err != nil {
			return u.blame(err)
		}
	}
	return nil
}

func (u *unpacking) settle(h *tar.Header) error {
	info, err := u.root.Lstat(h.Name)
	if err != nil || !info.IsDir() {
		return err // a link took its place
	}
	if h.Name != "." { // the directory itself belongs to whoever made it
		if err := u.root.Chmod(h.Name, permissions(h)); err != nil {
			return err
		}
	}
	return u.times(h)
}

func (u *unpacking) times(h *tar.Header) error {
	if h.ModTime.IsZero() || h.ModTime.Year() > 9999 {
		return nil
	}
	return u.root.Chtimes(h.Name, time.Now(), h.ModTime)
}

// blame calls what the tar is to blame for by its name. What the disk refuses stays
// as it is.
func (u *unpacking) blame(err error) error {
	if err == nil || errors.Is(err, ErrArchive) {
		return err
	}
	for _, e := range []error{fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrArchive, err)
}

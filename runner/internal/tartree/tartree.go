// Package tartree knows how to keep a directory as a tar and how to bring it back:
// with modes, times, links and hard links, and without ever writing outside of the
// directory, whatever the tar says.
//
// [Pack] reads a tree, [Unpack] writes one. They talk to the file system only.
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
	"strings"
	"syscall"

	"github.com/dockless-ci/dockless/runner/internal/untildone"
)

// Options change what is packed.
type Options struct {
	// Open opens a file to be packed; nil is os.Open. A file that it refuses fails
	// the whole.
	Open func(path string) (*os.File, error)
	// Limits are those with which the tar will be unpacked.
	Limits Limits
}

// Stats say what was packed.
type Stats struct {
	Files int   // and links
	Bytes int64 // of files
}

// ErrTree says that a tree holds more than [Unpack] would take from its tar.
var ErrTree = errors.New("the directory could not be unpacked again")

var errChanged = errors.New("it changed while it was packed")

// Pack writes the directory at root, without its own name, or the file there, under
// its name. Sockets, pipes and devices are left out. It fails with [ErrTree] for what
// Unpack would refuse.
func Pack(ctx context.Context, to io.Writer, root string, o Options) (Stats, error) {
	if o.Open == nil {
		o.Open = os.Open
	}
	p := &packing{ctx: ctx, to: tar.NewWriter(to), open: o.Open, left: o.Limits.orDefault(), first: make(map[inode]string)}
	resolved, err := filepath.EvalSymlinks(root) // what was asked for may itself be a link
	if err != nil {
		return Stats{}, err
	}
	info, err := os.Lstat(resolved)
	switch {
	case err != nil:
		return Stats{}, err
	case !info.IsDir():
		err = p.entry(resolved, filepath.Base(root), info)
	default:
		err = p.directory(resolved)
	}
	if err != nil {
		return p.stats, err
	}
	return p.stats, p.to.Close()
}

// packing is one call of [Pack].
type packing struct {
	ctx   context.Context //nolint:containedctx // of the call
	to    *tar.Writer
	open  func(string) (*os.File, error)
	left  Limits
	first map[inode]string // names of files that have several
	stats Stats
}

type inode struct{ device, number uint64 }

func (p *packing) directory(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		return p.entry(path, filepath.ToSlash(name), info)
	})
}

func (p *packing) entry(path, name string, info fs.FileInfo) error {
	mode := info.Mode()
	header := &tar.Header{Name: name, Mode: int64(mode.Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	switch {
	case mode.IsDir():
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		header.Typeflag, header.Linkname = tar.TypeSymlink, target
		p.stats.Files++
	case mode.IsRegular():
		return p.file(path, header, info)
	default:
		return nil
	}
	return p.write(header)
}

// write writes the header of an entry that can be unpacked.
func (p *packing) write(h *tar.Header) error {
	if err := p.left.admit(h); err != nil {
		return fmt.Errorf("%w: %w", ErrTree, err)
	}
	return p.to.WriteHeader(h)
}

func (p *packing) file(path string, header *tar.Header, info fs.FileInfo) error {
	p.stats.Files++
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink > 1 {
		key := inode{uint64(s.Dev), s.Ino} //nolint:unconvert // of other sizes elsewhere
		if first, known := p.first[key]; known {
			header.Typeflag, header.Linkname = tar.TypeLink, first
			return p.write(header)
		}
		p.first[key] = header.Name
	}
	from, err := p.open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	opened, err := from.Stat()
	switch {
	case err != nil:
		return err
	case !opened.Mode().IsRegular():
		return fmt.Errorf("reading %s: %w", path, errChanged)
	}
	header.Typeflag, header.Size = tar.TypeReg, opened.Size()
	if err := p.write(header); err != nil {
		return err
	}
	n, err := io.Copy(p.to, untildone.Reader(p.ctx, io.LimitReader(from, header.Size)))
	if err == nil && n < header.Size {
		err = errChanged
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	p.stats.Bytes += n
	return nil
}

// clean returns the local form of an entry's name, "." for the directory itself.
func clean(name string) (string, bool) {
	name = filepath.Clean(filepath.FromSlash(strings.TrimSuffix(name, "/")))
	return name, filepath.IsLocal(name) && !strings.ContainsRune(name, 0)
}

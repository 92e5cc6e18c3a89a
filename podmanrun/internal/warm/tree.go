package warm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tally counts what was copied.
type Tally struct {
	Files int   // with folders and links
	Bytes int64 // on disk
}

// specialModes are the bits of a mode that belong to it besides the permissions.
const specialModes = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// Copy copies what is in a directory into another one that is there, with owners,
// modes, times, extended attributes, holes and hard links, by reference where the
// file system can. Sockets, pipes, devices and files of process numbers are left out:
// they are of processes that have ended. Nothing is followed out of either
// directory. More than limit bytes are [ErrTooLarge].
func Copy(ctx context.Context, to, from string, limit int64) (Tally, error) {
	source, err := os.OpenRoot(from)
	if err != nil {
		return Tally{}, err
	}
	defer func() { _ = source.Close() }() // only read from
	target, err := os.OpenRoot(to)
	if err != nil {
		return Tally{}, err
	}
	defer func() { _ = target.Close() }() // its files report themselves
	c := &copying{limit: limit, top: target, links: make(map[inode]string)}
	err = c.folder(ctx, ".", target, source)
	return c.Tally, err
}

// copying is one call of [Copy].
type copying struct {
	Tally
	limit int64
	top   *os.Root
	links map[inode]string // where files with several names have got their first one
}

type inode struct{ dev, ino uint64 }

// folder copies one folder, which is path below the top.
func (c *copying) folder(ctx context.Context, path string, to, from *os.Root) error {
	dir, err := from.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read from
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.entry(ctx, filepath.Join(path, e.Name()), e.Name(), to, from); err != nil {
			return err
		}
	}
	stat, err := dir.Stat()
	if err != nil {
		return err
	}
	made, err := to.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(adorn(made, dir, stat), made.Close())
}

func (c *copying) entry(ctx context.Context, path, name string, to, from *os.Root) error {
	stat, err := from.Lstat(name)
	if err != nil {
		return err
	}
	if leftOut(name, stat.Mode()) {
		return nil
	}
	sys, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", path)
	}
	c.Files++
	if stat.Mode().IsRegular() && sys.Nlink > 1 {
		id := inode{uint64(sys.Dev), sys.Ino} //nolint:unconvert // its size differs between systems
		if first := c.links[id]; first != "" {
			return c.top.Link(first, path)
		}
		c.links[id] = path
	}
	if c.Bytes += sys.Blocks * 512; c.Bytes > c.limit {
		return fmt.Errorf("%w: more than %d MiB", ErrTooLarge, c.limit>>20)
	}
	switch {
	case stat.IsDir():
		return c.subfolder(ctx, path, name, to, from)
	case stat.Mode()&fs.ModeSymlink != 0:
		text, err := from.Readlink(name)
		if err != nil {
			return err
		}
		return errors.Join(to.Symlink(text, name), to.Lchown(name, int(sys.Uid), int(sys.Gid)))
	}
	return copyFile(name, to, from)
}

// leftOut reports whether a file is of a process that has ended.
func leftOut(name string, mode fs.FileMode) bool {
	if mode.IsRegular() {
		return strings.HasSuffix(name, ".pid")
	}
	return !mode.IsDir() && mode&fs.ModeSymlink == 0
}

func (c *copying) subfolder(ctx context.Context, path, name string, to, from *os.Root) error {
	if err := to.Mkdir(name, 0o700); err != nil {
		return err
	}
	source, err := from.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // only read from
	target, err := to.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }() // its files report themselves
	return c.folder(ctx, path, target, source)
}

func copyFile(name string, to, from *os.Root) (err error) {
	// Whatever has taken its place since it was looked at, nobody waits for it.
	source, err := from.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // only read from
	stat, err := source.Stat()
	if err != nil {
		return err
	}
	if !stat.Mode().IsRegular() {
		return fmt.Errorf("%s is no file any more", name)
	}
	target, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := copyContent(target, source, stat.Size()); err != nil {
		return fmt.Errorf("copying %s: %w", name, err)
	}
	return adorn(target, source, stat)
}

// adorn gives a copy what belongs to its original beside the content. The order
// matters: a new owner takes set-uid bits and capabilities away.
func adorn(made, original *os.File, stat fs.FileInfo) error {
	sys, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", original.Name())
	}
	if err := made.Chown(int(sys.Uid), int(sys.Gid)); err != nil {
		return err
	}
	if err := made.Chmod(stat.Mode() & specialModes); err != nil {
		return err
	}
	if err := copyAttributes(made, original); err != nil {
		return err
	}
	return setTimes(made, stat.ModTime())
}

// syncTree brings the files below a directory to the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() && !d.IsDir() {
			return nil
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // nobody else writes into what is not whole yet
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// openPlain opens a file that nothing has to be waited for.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	stat, err := f.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file any more", path)
	}
	if err != nil {
		_ = f.Close() // only read from
		return nil, err
	}
	return f, nil
}

package filetasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// maxEntries bounds the files and directories of an archive. What is known of
// each is kept in memory, some hundred bytes; the largest trees of packages have
// some hundred thousand.
const maxEntries = 1 << 20

// extraction writes the entries of one archive. Its root refuses every path that
// leaves it, by name or through a link.
type extraction struct {
	step      step.Step
	root      *os.Root
	overwrite bool
	room      int64    // bytes that may still be written
	entries   int      // so far
	made      []string // files, links and directories, in order
	dirs      []entry  // whose modes and times come last
}

// entry is one file, link or directory of an archive.
type entry struct {
	name string // in the archive
	path string // in the root
	mode fs.FileMode
	time time.Time
}

// entry checks the name of an entry and returns where it goes.
func (x *extraction) entry(ctx context.Context, name string, mode fs.FileMode, modified time.Time) (entry, error) {
	if ctx.Err() != nil {
		return entry{}, context.Cause(ctx)
	}
	if x.entries++; x.entries > maxEntries {
		return entry{}, fmt.Errorf("it has more than %d entries", maxEntries)
	}
	// Tar and unzip leave the slashes in front away, too.
	e := entry{name: name, path: path.Clean(strings.TrimLeft(name, "/")), mode: mode, time: modified}
	if !isLocal(strings.TrimLeft(name, "/")) && e.path != "." {
		return entry{}, fmt.Errorf("its entry %q leads out of the destination folder", name)
	}
	x.step.Print(printable(name))
	return e, nil
}

// printable shows a name that would break its line in quotes.
func printable(name string) string {
	if strings.ContainsFunc(name, unicode.IsControl) {
		return strconv.Quote(name)
	}
	return name
}

// wrap names the entry that err is about.
func (e entry) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("its entry %q: %w", e.name, err)
}

// parents makes the directories above an entry.
func (x *extraction) parents(e entry) error {
	dir := path.Dir(e.path)
	if dir == "." {
		return nil
	}
	if _, err := x.root.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := x.parents(entry{path: dir}); err != nil {
		return err
	}
	return x.mkdir(dir)
}

func (x *extraction) mkdir(path string) error {
	err := x.root.Mkdir(path, 0o777) // the umask decides
	if err == nil {
		x.made = append(x.made, path)
	}
	return err
}

// directory makes a directory, open for what goes into it.
func (x *extraction) directory(e entry) error {
	if e.path == "." {
		return nil
	}
	if info, err := x.root.Stat(e.path); err != nil || !info.IsDir() {
		if err := x.parents(e); err != nil {
			return e.wrap(err)
		}
		if err := x.mkdir(e.path); err != nil {
			return e.wrap(err)
		}
	}
	x.dirs = append(x.dirs, e)
	return nil
}

// clear makes place for an entry, when that is wanted.
func (x *extraction) clear(e entry) error {
	if err := x.parents(e); err != nil {
		return err
	}
	info, err := x.root.Lstat(e.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("there is a directory at its place")
	case !x.overwrite:
		return hint.With(errors.New("there is a file at its place"), "set overwriteExistingFiles or cleanDestinationFolder")
	}
	return x.root.Remove(e.path) // a link goes, not what it leads to
}

// file writes a file.
func (x *extraction) file(ctx context.Context, e entry, from io.Reader) error {
	if err := x.clear(e); err != nil {
		return e.wrap(err)
	}
	to, err := x.root.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.mode.Perm())
	if err != nil {
		return e.wrap(err)
	}
	x.made = append(x.made, e.path)
	err = copied(ctx, &roomy{x: x, to: to}, from)
	if err = errors.Join(err, to.Close()); err == nil && !e.time.IsZero() {
		err = x.root.Chtimes(e.path, time.Time{}, e.time)
	}
	return e.wrap(err)
}

// link makes a symbolic link. It may lead anywhere, as with tar and unzip: nothing
// is written through it.
func (x *extraction) link(e entry, target string) error {
	if err := x.clear(e); err != nil {
		return e.wrap(err)
	}
	if err := x.root.Symlink(target, e.path); err != nil {
		return e.wrap(err)
	}
	x.made = append(x.made, e.path)
	return nil
}

// hardLink makes another name of a file that was extracted.
func (x *extraction) hardLink(e entry, target string) error {
	if err := x.clear(e); err != nil {
		return e.wrap(err)
	}
	target = path.Clean(strings.TrimLeft(target, "/"))
	if err := x.root.Link(target, e.path); err != nil {
		return e.wrap(err)
	}
	x.made = append(x.made, e.path)
	return nil
}

// finish gives the directories their modes and times, which files that go in
// would change. The owner keeps every right, or the next job could not clean up.
func (x *extraction) finish() error {
	for _, e := range slices.Backward(x.dirs) {
		if e.mode.Perm() != 0 {
			if err := x.root.Chmod(e.path, e.mode.Perm()|0o700); err != nil {
				return e.wrap(err)
			}
		}
		if !e.time.IsZero() {
			if err := x.root.Chtimes(e.path, time.Time{}, e.time); err != nil {
				return e.wrap(err)
			}
		}
	}
	return nil
}

// undo removes what was made.
func (x *extraction) undo() {
	for _, path := range slices.Backward(x.made) {
		_ = x.root.Remove(path) // what cannot go is not worth hiding the reason
	}
}

// roomy writes as long as there is room.
type roomy struct {
	x  *extraction
	to io.Writer
}

// Write implements io.Writer.
func (r *roomy) Write(p []byte) (int, error) {
	if r.x.room -= int64(len(p)); r.x.room < 0 {
		return 0, errRoom
	}
	return r.to.Write(p)
}

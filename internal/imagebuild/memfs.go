package imagebuild

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// memoryFS is a directory of one file that exists in memory only, or of none
// when stat is nil.
type memoryFS struct {
	stat *types.Stat
	text []byte
}

// Walk visits the file when it is what target names or lies below it.
func (m *memoryFS) Walk(_ context.Context, target string, fn fs.WalkDirFunc) error {
	if m.stat == nil {
		return nil
	}
	if target = path.Clean("/" + target); target != "/" && target != "/"+m.stat.Path {
		return nil
	}
	return fn(m.stat.Path, &fsutil.DirEntryInfo{Stat: m.stat}, nil)
}

// Open opens the file.
func (m *memoryFS) Open(name string) (io.ReadCloser, error) {
	if m.stat == nil || name != m.stat.Path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	return io.NopCloser(bytes.NewReader(m.text)), nil
}

// localFS is a directory of this machine, read as the request says.
func (s *solver) localFS(dir string) (fsutil.FS, error) {
	local, err := fsutil.NewFS(dir)
	if err != nil || s.r.Open == nil {
		return local, err
	}
	return &openedFS{FS: local, dir: dir, open: s.r.Open}, nil
}

// openedFS opens its files with a function.
type openedFS struct {
	fsutil.FS
	dir  string
	open func(string) (*os.File, error)
}

// Open opens a file.
func (o *openedFS) Open(name string) (io.ReadCloser, error) {
	f, err := o.open(filepath.Join(o.dir, name))
	if err != nil {
		return nil, err
	}
	return f, nil
}

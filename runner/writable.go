package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dockless-ci/dockless/internal/hint"
)

// target resolves the path of an input at which, or below which, a built-in writes or
// removes. Built-ins work on the host, where a link that a step made in a container
// leads to files that no step in a container can reach. So in a job that has such
// steps, the path must lead to where its containers can write, by whatever links. A
// process that still runs in a container may put a link there afterwards; built-ins
// therefore write below a handle of the directory where they can.
func (x *execution) target(input, path string) (string, error) {
	if len(x.sees) == 0 {
		return path, nil
	}
	_, _, err := x.reach(input, path)
	if err != nil {
		return "", err
	}
	return path, nil
}

// reach returns the folder of the job's containers that a path leads into, and where
// in it, with all links followed.
func (x *execution) reach(input, path string) (folder, inside string, err error) {
	real, err := landing(path)
	if err != nil {
		return "", "", fmt.Errorf("the input %s: finding out where %s leads: %w", input, path, err)
	}
	for _, m := range x.sees {
		host, err := filepath.EvalSymlinks(m.Host)
		if err != nil || m.ReadOnly {
			continue // it cannot be written to
		}
		if inside, err := filepath.Rel(host, real); err == nil && filepath.IsLocal(inside) {
			return host, inside, nil
		}
	}
	return "", "", hint.With(fmt.Errorf("the input %s: %s leads to %s, which is outside of the folders that the containers of the job see", input, path, real),
		"name a folder of the job, such as one below $(Pipeline.Workspace) or $(Agent.TempDirectory)")
}

// create makes the file at a path that an input names, or empties it. In a job with
// containers it is made below a handle of the folder that the path leads into, so that
// no link that is put there meanwhile leads elsewhere.
func (x *execution) create(input, path string) (file *os.File, err error) {
	if len(x.sees) == 0 {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as docker makes it
			return nil, err
		}
		return os.Create(path)
	}
	folder, inside, err := x.reach(input, path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.MkdirAll(filepath.Dir(inside), 0o755); err != nil {
		return nil, err
	}
	// Without the flag, opening a pipe that a step left here would wait for its reader.
	file, err = root.OpenFile(inside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NONBLOCK, 0o666)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("the input %s: %s is no regular file", input, path), err, file.Close())
	}
	return file, nil
}

// landing returns where a path leads that may not be there yet: what is there of it,
// with all links followed, and the rest. A link that leads nowhere is an error: who
// makes a file there makes it where the link says.
func landing(path string) (string, error) {
	rest := ""
	for {
		_, err := os.Lstat(path)
		switch {
		case err == nil:
			real, err := filepath.EvalSymlinks(path)
			return filepath.Join(real, rest), err
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path:
			return "", err
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}

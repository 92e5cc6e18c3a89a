package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
	real, err := landing(path)
	if err != nil {
		return "", fmt.Errorf("the input %s: finding out where %s leads: %w", input, path, err)
	}
	for _, m := range x.sees {
		host, err := filepath.EvalSymlinks(m.Host)
		if err != nil || m.ReadOnly {
			continue // it cannot be written to
		}
		if inside, err := filepath.Rel(host, real); err == nil && filepath.IsLocal(inside) {
			return path, nil
		}
	}
	return "", hint.With(fmt.Errorf("the input %s: %s leads to %s, which is outside of the folders that the containers of the job see", input, path, real),
		"name a folder of the job, such as one below $(Pipeline.Workspace) or $(Agent.TempDirectory)")
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

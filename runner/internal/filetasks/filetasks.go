// Package filetasks knows how to copy, delete, pack and unpack files as the tasks
// CopyFiles@2, DeleteFiles@1, ArchiveFiles@2 and ExtractFiles@1 do (language §5.7
// and §5.10).
//
// Each task is a [step.Func]. It opens what the job names by the step, so that it
// reads no more than the job may, and writes as the user that the job runs as. An
// archive, and links in a tree that is deleted, are somebody else's: nothing
// outside of the destination is written or removed because of them.
//
// Zip and tar are read and written here, bzip2 and xz by the programs of these
// names where needed, and everything else by 7-Zip.
package filetasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// required returns an input that must not be empty. One that is not given at all
// is otherwise.
func required(s step.Inputs, name, otherwise string) (string, error) {
	text := s.Text(name, "")
	if text == "" && !s.Given(name) {
		text = otherwise
	}
	if text == "" {
		return "", fmt.Errorf("the input %s is empty", name)
	}
	return text, nil
}

// patterns returns the lines of a required input.
func patterns(s step.Inputs, name, otherwise string) ([]string, error) {
	text, err := required(s, name, otherwise)
	return strings.Split(text, "\n"), err
}

// opened opens a regular file that the job names.
func opened(s step.Files, path string) (*os.File, fs.FileInfo, error) {
	f, err := s.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// chunk is how much is copied before somebody looks whether the step is over, in
// bytes: less than a second's worth on a slow disk.
const chunk = 32 << 20

// copied copies until the end of from, or of ctx.
func copied(ctx context.Context, to io.Writer, from io.Reader) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch _, err := io.CopyN(to, from, chunk); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// spare returns an error when path is, or holds, a folder that the step itself
// stands in, by whatever links. Itself says that a link goes, and not what it
// leads to.
func spare(s step.Files, path string, itself bool) error {
	if holds(path, s.Temp()) {
		return errSpared(path)
	}
	if info, err := os.Lstat(path); itself && err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil //nolint:nilerr // it is gone, or a link that leads nowhere
	}
	temp, err := filepath.EvalSymlinks(s.Temp())
	if err != nil {
		return fmt.Errorf("finding the folders of the agent: %w", err)
	}
	if holds(real, temp) {
		return errSpared(path)
	}
	return nil
}

// holds reports whether dir is path or has it in it.
func holds(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func errSpared(path string) error {
	return hint.With(fmt.Errorf("%s holds the folders of the agent", path), "name a folder of the job, such as $(Build.ArtifactStagingDirectory)")
}

// empty removes what is in dir, or all of it when it is no directory or whole
// says so. It follows no link but dir itself.
func empty(s step.Files, dir string, whole bool) error {
	info, err := os.Lstat(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := spare(s, dir, whole); err != nil {
		return err
	}
	if whole || info.Mode().IsRegular() {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

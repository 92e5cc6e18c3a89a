package gitsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/runner/internal/plainfile"
)

// maxLink bounds the file that says where the repository of a submodule is, in bytes.
const maxLink = 8 << 10

// disarm takes from the repository in Dir, and from those of its submodules, what a job
// put there and git would obey: settings that start programs or lead to other servers,
// and hooks. The job before may have been of a fork. An error says what is there that
// makes the repository unfit for another checkout.
func (s *Source) disarm(ctx context.Context) error {
	dirs, err := gitDirs(s.file())
	if err != nil {
		return err
	}
	for i, dir := range dirs {
		if err := s.disarmOne(ctx, dir, i > 0); err != nil {
			return err
		}
	}
	if s.Submodules == "" {
		return nil
	}
	return s.submoduleLinks(dirs)
}

// gitDirs returns the directory dir of a repository and those of its submodules.
func gitDirs(dir string) ([]string, error) {
	dirs := []string{dir}
	err := filepath.WalkDir(filepath.Join(dir, "modules"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			return fmt.Errorf("it has no directory at %s", path)
		case !there(filepath.Join(path, "HEAD")):
			return nil // a part of a submodule's name
		}
		below, err := gitDirs(path)
		if err != nil {
			return err
		}
		dirs = append(dirs, below...)
		return fs.SkipDir
	})
	return dirs, err
}

// disarmOne disarms one repository.
func (s *Source) disarmOne(ctx context.Context, dir string, submodule bool) error {
	if there(filepath.Join(dir, "commondir")) {
		return errors.New("it has its configuration somewhere else")
	}
	for _, name := range []string{"config", "config.worktree"} {
		if err := s.disarmConfig(filepath.Join(dir, name), submodule); err != nil {
			return err
		}
	}
	hooks := filepath.Join(dir, "hooks")
	if info, err := os.Lstat(hooks); err == nil && !info.IsDir() {
		return fmt.Errorf("it has no directory at %s", hooks)
	}
	entries, err := os.ReadDir(hooks)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".sample" {
			continue
		}
		if err := s.remove(ctx, filepath.Join(hooks, e.Name())); err != nil { // git-lfs makes its own again
			return fmt.Errorf("removing a hook: %w", err)
		}
	}
	return nil
}

// disarmConfig takes settings that no checkout makes from a configuration.
func (s *Source) disarmConfig(path string, submodule bool) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no plain file", path)
	}
	data, err := s.read(path)
	if err != nil {
		return err
	}
	also := ""
	if submodule {
		also = "core.worktree"
		if tree, ok := setting(data, "core", "worktree"); ok && !s.inside(filepath.Join(filepath.Dir(path), tree)) {
			return fmt.Errorf("a submodule has its files outside of it: %s", tree)
		}
	}
	data = withoutCredentials(data)
	kept, foreign, err := onlyOurs(data, also)
	if err != nil || len(foreign) == 0 {
		return err // credentials are removed later
	}
	s.Log("Removing from " + path + " what no checkout puts there: " + strings.Join(foreign, ", "))
	return plainfile.Replace(path+".new", path, bytes.NewReader(kept), 0o644)
}

// inside reports whether a directory is in the working tree, and on no way through a link.
func (s *Source) inside(dir string) bool {
	rel, err := filepath.Rel(s.Dir, dir)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return false
	}
	parts := strings.Split(rel, string(filepath.Separator))
	at := s.Dir
	for _, part := range parts {
		at = filepath.Join(at, part)
		if info, err := os.Lstat(at); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return false
		}
	}
	return parts[0] != ".git"
}

// submoduleLinks looks for a directory of the working tree in which git would find
// another repository than one of dirs.
func (s *Source) submoduleLinks(dirs []string) error {
	return filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != ".git" {
			return err
		}
		if path == s.file() {
			return fs.SkipDir
		}
		text, err := plainfile.Read(path, maxLink)
		to, ok := strings.CutPrefix(strings.TrimRight(string(text), "\n"), "gitdir: ")
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		if err != nil || !ok || !slices.Contains(dirs, filepath.Clean(to)) {
			return fmt.Errorf("%s is no link to the repository of a submodule", path)
		}
		return nil
	})
}

package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// prepare cleans the repository that is there, or makes one.
func (s *Source) prepare(ctx context.Context) error {
	why, ok := s.reusable()
	if ok {
		if err := s.disarm(ctx); err != nil {
			why, ok = "The repository cannot be used again: "+err.Error(), false
		}
	}
	if ok {
		if err := s.clearLocks(); err != nil {
			return err
		}
		err := s.clean(ctx)
		if s.reused = err == nil; s.reused || ctx.Err() != nil {
			return err
		}
		why = "Cleaning the repository did not work"
	}
	if why != "" {
		s.Log(why + "; starting with a new one.")
	}
	return s.begin(ctx)
}

// reusable reports whether Dir is a repository of the same origin, and no link
// to one somewhere else, or why not, where that is worth a line. It reads the
// file itself: a foreign directory could have a configuration that makes git
// start programs.
func (s *Source) reusable() (why string, ok bool) {
	for _, dir := range []string{s.Dir, s.file()} {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			return "", false
		}
	}
	data, err := s.read(s.configFile())
	if err != nil {
		return "The repository has no configuration that can be read", false
	}
	if origin, _ := setting(data, `remote "origin"`, "url"); origin != s.URL {
		return "The repository is one of another origin", false
	}
	// A fetch without a filter would go on with the old one, and every later step
	// would ask the server for what is missing, without credentials.
	if filter, _ := setting(data, `remote "origin"`, "partialclonefilter"); (filter == "") != (s.Filter == "") {
		return "The repository was fetched with another filter", false
	}
	if branches, _ := setting(data, `remote "origin"`, "fetch"); branches != everyBranch {
		return "The repository is set to fetch other branches", false
	}
	return "", true
}

// begin makes a new repository, whatever was there before.
func (s *Source) begin(ctx context.Context) error {
	s.reused = false
	if err := s.remove(ctx, s.Dir); err != nil {
		return fmt.Errorf("removing the old sources: %w", err)
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil { //nolint:gosec // containers of the job read it as other users
		return fmt.Errorf("making the directory of the sources: %w", err)
	}
	// Without a name for its first branch git explains at length how to choose
	// one. No branch is ever made here.
	if err := s.Run(ctx, filepath.Dir(s.Dir), nil, "-c", "init.defaultBranch=main", "init", s.Dir); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	if err := s.Run(ctx, s.Dir, nil, "remote", "add", "origin", s.URL); err != nil {
		return fmt.Errorf("naming the remote repository: %w", err)
	}
	return nil
}

// clearLocks removes locks that a killed git left behind, of the repository, its
// refs and its submodules. Nobody else works in the directory while the job has
// it.
func (s *Source) clearLocks() error {
	root, err := os.OpenRoot(s.file())
	if err != nil {
		return fmt.Errorf("opening the repository: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written by it
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "objects":
			return fs.SkipDir // large, and git locks none of them so that it matters
		case !d.IsDir() && strings.HasSuffix(d.Name(), ".lock"):
			return root.Remove(path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("removing a lock of the repository: %w", err)
	}
	return nil
}

func (s *Source) clean(ctx context.Context) error {
	if !s.Clean {
		return nil
	}
	commands := [][]string{{"clean", "-ffdx"}, {"reset", "--hard", "HEAD"}}
	if s.Submodules != "" {
		commands = append(commands,
			[]string{"submodule", "foreach", "--recursive", "git", "clean", "-ffdx"},
			[]string{"submodule", "foreach", "--recursive", "git", "reset", "--hard", "HEAD"})
	}
	for _, args := range commands {
		if err := s.Run(ctx, s.Dir, s.lazily(), args...); err != nil {
			return fmt.Errorf("cleaning the repository: %w", err)
		}
	}
	return nil
}

// configure sets what the checkout relies on and removes credentials that an
// earlier job may have left.
func (s *Source) configure(ctx context.Context) error {
	data, err := s.read(s.configFile())
	if err != nil {
		return fmt.Errorf("configuring the repository: %w", err)
	}
	for _, want := range [][3]string{{"gc", "auto", "0"}, {"http", "version", "HTTP/1.1"}} {
		if value, _ := setting(data, want[0], want[1]); value == want[2] {
			continue
		}
		if err := s.Run(ctx, s.Dir, nil, "config", want[0]+"."+want[1], want[2]); err != nil {
			return fmt.Errorf("configuring the repository: %w", err)
		}
	}
	_, filtered := setting(data, `filter "lfs"`, "required")
	s.smudge = s.reused && s.LFS && !filtered
	if filtered && !s.LFS {
		if err := s.Run(ctx, s.Dir, nil, "config", "--remove-section", "filter.lfs"); err != nil {
			return fmt.Errorf("turning large files off: %w", err)
		}
	}
	return s.Forget(ctx)
}

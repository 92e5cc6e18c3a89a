package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strconv"
)

// lazily returns the settings of a command that works on the tree: of a partial
// clone, or with large files, git asks the server for what is missing.
func (s *Source) lazily() map[string]string {
	if s.LFS || s.Filter != "" {
		return s.header()
	}
	return nil
}

func (s *Source) sparse(ctx context.Context) error {
	mode, paths := "--no-cone", s.Patterns
	if len(s.Sparse) > 0 {
		mode, paths = "--cone", s.Sparse
	}
	if len(paths) == 0 {
		return s.whole(ctx)
	}
	// The mode is an option of set from 2.35 on only.
	for _, args := range [][]string{{"init", mode}, append([]string{"set", "--end-of-options"}, paths...)} {
		if err := s.Run(ctx, s.Dir, s.lazily(), append([]string{"sparse-checkout"}, args...)...); err != nil {
			return fmt.Errorf("choosing the directories to check out: %w", err)
		}
	}
	return nil
}

// whole takes a sparse checkout back that an earlier job wanted.
func (s *Source) whole(ctx context.Context) error {
	file := s.file("info", "sparse-checkout")
	if !there(file) {
		return nil
	}
	if err := s.Run(ctx, s.Dir, s.lazily(), "sparse-checkout", "disable"); err != nil {
		return fmt.Errorf("checking out all directories again: %w", err)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("checking out all directories again: %w", err)
	}
	return nil
}

func (s *Source) largeFiles(ctx context.Context) error {
	if !s.LFS {
		return nil
	}
	if err := s.Run(ctx, s.Dir, nil, "lfs", "install", "--local"); err != nil {
		return fmt.Errorf("preparing large files: %w", err)
	}
	return s.again(ctx, "fetching large files", "lfs", "fetch", "origin", s.target())
}

func (s *Source) checkout(ctx context.Context) error {
	if err := s.Run(ctx, s.Dir, s.lazily(), "checkout", "--progress", "--force", s.target()); err != nil {
		return fmt.Errorf("checking out %s: %w", s.target(), err)
	}
	if s.smudge { // to git the files are what they were
		if err := s.Run(ctx, s.Dir, s.lazily(), "lfs", "checkout"); err != nil {
			return fmt.Errorf("checking out large files: %w", err)
		}
	}
	return nil
}

// smudging are the settings of `git lfs install --local` for submodules, which
// have no configuration before git has made and checked them out.
var smudging = map[string]string{
	"filter.lfs.process":  "git-lfs filter-process",
	"filter.lfs.smudge":   "git-lfs smudge -- %f",
	"filter.lfs.clean":    "git-lfs clean -- %f",
	"filter.lfs.required": "true",
}

// submodules checks the submodules out. The header goes to those on the server of
// the repository only.
func (s *Source) submodules(ctx context.Context) error {
	if s.Submodules == "" {
		return nil
	}
	sync := []string{"submodule", "sync"}
	update := []string{"submodule", "update", "--init", "--force"}
	if s.Depth > 0 {
		update = append(update, "--depth="+strconv.Itoa(s.Depth))
	}
	if s.Submodules == "recursive" {
		sync, update = append(sync, "--recursive"), append(update, "--recursive")
	}
	config := maps.Clone(s.header())
	if s.LFS {
		if config == nil {
			config = make(map[string]string)
		}
		maps.Copy(config, smudging)
	}
	bring := func() error {
		if err := s.Run(ctx, s.Dir, nil, sync...); err != nil {
			return fmt.Errorf("updating the addresses of submodules: %w", err)
		}
		return s.repeat(ctx, "fetching submodules", func() error { return s.Run(ctx, s.Dir, config, update...) })
	}
	err := bring()
	if err == nil || !s.reused || ctx.Err() != nil || !there(s.file("modules")) {
		return err
	}
	s.Log("The submodules that are here may be damaged; fetching them anew.")
	if err := s.Run(ctx, s.Dir, nil, "submodule", "deinit", "--force", "--all"); err != nil {
		return fmt.Errorf("removing the submodules: %w", err)
	}
	if err := s.remove(ctx, s.file("modules")); err != nil {
		return fmt.Errorf("removing the submodules: %w", err)
	}
	return bring()
}

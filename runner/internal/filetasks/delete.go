package filetasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// Delete is DeleteFiles@1. Unlike the original it never follows a link out of the
// source folder: what is there, nobody named.
func Delete(ctx context.Context, s step.Step) error {
	// The default is the task's own, as strange as it is.
	lines, err := patterns(s, "Contents", "myFileShare")
	if err != nil {
		return err
	}
	source, err := s.Target("SourceFolder", s.Text("SourceFolder", ""))
	if err != nil {
		return err
	}
	source = filepath.Clean(source)
	lines, whole, excludes := below(lines)
	paths, err := match.WalkInside(ctx, source)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		s.Print("No files to delete.")
		return nil
	}
	chosen, err := match.Filter(paths, lines, source, match.Options{NoDots: !s.Truth("RemoveDotFiles", false), Braces: true})
	if err != nil {
		return fmt.Errorf("the input Contents: %w", err)
	}
	if whole {
		chosen = append(chosen, source)
	}
	if excludes {
		chosen = spared(paths, chosen)
	}
	// What is in a directory goes before the directory.
	slices.SortStableFunc(chosen, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	if err := remove(ctx, s, source, chosen); err != nil {
		return err
	}
	if entries, err := os.ReadDir(source); err != nil || len(entries) > 0 || !s.Truth("RemoveSourceFolder", false) {
		return nil // it is gone, or not to go
	}
	if err := os.Remove(source); err != nil {
		return fmt.Errorf("removing the source folder: %w", err)
	}
	return nil
}

// below makes patterns that count from the source folder, whatever they begin
// with. Whole says that one names the folder itself, excludes that one excludes.
func below(lines []string) (patterns []string, whole, excludes bool) {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		bare := strings.TrimLeft(line, "!")
		marks := line[:len(line)-len(bare)]
		excludes = excludes || len(marks)%2 == 1
		clean := strings.TrimPrefix(path.Clean("/"+bare), "/")
		switch {
		case clean == "":
			whole = whole || bare != "" && len(marks)%2 == 0
			continue
		case strings.HasPrefix(clean, "#"):
			clean = `\` + clean // no comment
		}
		if strings.HasSuffix(bare, "/") {
			clean += "/"
		}
		patterns = append(patterns, marks+clean)
	}
	return patterns, whole, excludes
}

// spared takes away the directories in which something is left.
func spared(paths, chosen []string) []string {
	gone := make(map[string]bool, len(chosen))
	for _, path := range chosen {
		gone[path] = true
	}
	kept := make(map[string]bool)
	for _, path := range paths {
		if gone[path] {
			continue
		}
		for dir := path; !kept[dir] && dir != "/"; dir = filepath.Dir(dir) {
			kept[dir] = true
		}
	}
	return slices.DeleteFunc(chosen, func(path string) bool { return kept[path] })
}

// remove removes paths of source, and goes on when one cannot be removed.
func remove(ctx context.Context, s step.Step, source string, paths []string) (err error) {
	if info, err := os.Stat(source); err == nil && !info.IsDir() {
		return nil // nothing is below a file
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	failed := false
	behind := make(map[string]bool) // links that lead out
	for _, path := range paths {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		if dir := filepath.Dir(rel); rel != "." && leadsOut(root, dir) {
			if !behind[dir] {
				s.Print("Nothing is deleted behind a link: " + filepath.Join(source, dir))
			}
			behind[dir] = true
			continue
		}
		if err := removeOne(s, root, path, rel); err != nil {
			s.Error(fmt.Errorf("deleting %s: %w", path, err))
			failed = true
		}
	}
	if failed {
		return errors.New("one or more files were not deleted")
	}
	return nil
}

// removeOne removes path, which is rel in root or root itself.
func removeOne(s step.Step, root *os.Root, path, rel string) error {
	if err := spare(s, path, rel != "."); err != nil {
		return err
	}
	if rel != "." {
		return root.RemoveAll(rel)
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// leadsOut reports whether dir is a place outside of root, by a link in its path.
func leadsOut(root *os.Root, dir string) bool {
	if _, err := root.Stat(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err := os.Stat(filepath.Join(root.Name(), dir))
	return err == nil
}

// Package match knows how tasks choose files by patterns, as the task library's
// match and findMatch do (language §5.0).
//
// Patterns are applied in order: each adds what it matches, and one behind an odd
// number of "!" takes it away again. They are trimmed; empty ones and those
// behind "#" say nothing. "?" is one character and "*" any number of them, within
// one element of a path; "**" is any number of whole elements; "[a-z]" and
// "[!a-z]" are classes; "?(a|b)", "*(a|b)", "+(a|b)", "@(a|b)" and "!(a|b)" are
// alternatives; "\" takes the meaning from what follows. Braces mean nothing
// unless asked for. Upper and lower case differ.
//
// [Find] looks into the file system, [Walk] and [WalkInside] list a tree and [Filter] chooses from
// a list. Patterns come from pipelines and names from repositories: neither makes
// the work grow exponentially.
package match

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options changes what patterns mean. The zero value is what most tasks use.
type Options struct {
	// Base makes a pattern without a slash look at the last element of each path.
	Base bool
	// NoDots keeps wildcards from matching a dot in front of a name.
	NoDots bool
	// Braces makes "{a,b}" stand for either and "{1..3}" for each.
	Braces bool
}

// rule is one pattern of a list.
type rule struct {
	text    string // as written, without "!"
	exclude bool
}

// rules reads patterns.
func rules(patterns []string, o Options) ([]rule, error) {
	var all []rule
	for _, text := range patterns {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "#") {
			continue
		}
		bare := strings.TrimLeft(text, "!")
		exclude := (len(text)-len(bare))%2 == 1
		texts := []string{bare}
		if o.Braces {
			var err error
			if texts, err = spread(bare); err != nil {
				return nil, err
			}
		}
		for _, t := range texts {
			if t = strings.TrimSpace(t); t != "" {
				all = append(all, rule{text: t, exclude: exclude})
			}
		}
	}
	return all, nil
}

// compile makes the pattern one of whole paths, unless it is one of their last
// elements. An empty root leaves it as it is.
func (r rule) compile(root string, o Options) (*glob, error) {
	g, err := compile(r.text, o)
	if err != nil || root == "" || g.base || strings.HasPrefix(r.text, "/") {
		return g, err
	}
	g.root(root)
	return g, nil
}

// Filter returns the paths that the patterns choose, in their order and each
// once. A pattern that is not absolute counts from root, whose own letters never
// are wildcards; with an empty root it has to match a path as it is.
func Filter(paths, patterns []string, root string, o Options) ([]string, error) {
	all, err := rules(patterns, o)
	if err != nil {
		return nil, err
	}
	chosen := make(map[string]bool)
	for _, r := range all {
		g, err := r.compile(root, o)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if chosen[path] == r.exclude && g.match(path) {
				chosen[path] = !r.exclude
			}
		}
	}
	var found []string
	for _, path := range paths {
		if chosen[path] {
			found = append(found, path)
			delete(chosen, path)
		}
	}
	return found, nil
}

// Find returns the sorted paths of what the patterns choose below root, which is
// absolute, or elsewhere when a pattern is absolute itself. Directories are among
// them. Links are followed, and those that lead nowhere are found like files. An
// element "." or ".." stays in the path as the pattern writes it.
func Find(ctx context.Context, root string, patterns []string, o Options) ([]string, error) {
	all, err := rules(patterns, o)
	if err != nil {
		return nil, err
	}
	root = squash(root)
	found := make(map[string]bool)
	for _, r := range all {
		g, err := r.compile(root, o)
		if err != nil {
			return nil, err
		}
		if r.exclude {
			maps.DeleteFunc(found, func(path string, _ bool) bool { return g.match(path) })
			continue
		}
		paths, err := candidates(ctx, root, g)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if g.match(path) {
				found[path] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// candidates lists what g may match: the tree below the elements that are no
// wildcards, or the one path that it names.
func candidates(ctx context.Context, root string, g *glob) ([]string, error) {
	if g.base {
		return Walk(ctx, root)
	}
	start, whole := g.literal()
	if start == "" {
		return nil, nil
	}
	if !whole {
		return Walk(ctx, start)
	}
	if _, err := os.Stat(start); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	return []string{start}, nil
}

// squash makes one slash of several.
func squash(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// maxPaths bounds what one walk lists: links between directories can make a tree
// of any size out of a few of them, and each path takes some hundred bytes.
const maxPaths = 4 << 20

// Walk returns root, cleaned, and everything below it, in the order of a walk, or
// nothing when there is no root. It follows links, but none into a directory that
// it is in already; those that lead nowhere are listed like files.
func Walk(ctx context.Context, root string) ([]string, error) {
	return list(ctx, root, &walk{})
}

// WalkInside is [Walk] that enters no link to a place outside of root. It lists
// the link.
func WalkInside(ctx context.Context, root string) ([]string, error) {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return Walk(ctx, root) // which says why, or that there is none
	}
	return list(ctx, root, &walk{inside: real})
}

func list(ctx context.Context, root string, w *walk) ([]string, error) {
	root = filepath.Clean(root)
	if err := w.visit(ctx, root, nil); err != nil {
		return nil, fmt.Errorf("looking through %s: %w", root, err)
	}
	return w.paths, nil
}

// walk is one walk through a tree.
type walk struct {
	inside string // where links that are followed stay; empty: anywhere
	paths  []string
}

// visit lists path and what is below. Chain has the directories above.
func (w *walk) visit(ctx context.Context, path string, chain []fs.FileInfo) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(w.paths) == maxPaths {
		return fmt.Errorf("there are more than %d files", maxPaths)
	}
	info, err := os.Stat(path)
	if err != nil {
		link, lerr := os.Lstat(path)
		switch {
		case errors.Is(lerr, fs.ErrNotExist):
			return nil // there is no root, or somebody removed it just now
		case lerr != nil || link.Mode()&fs.ModeSymlink == 0:
			return err
		}
		info = link
	}
	w.paths = append(w.paths, path)
	if !info.IsDir() || w.leadsOut(path) || slices.ContainsFunc(chain, func(above fs.FileInfo) bool { return os.SameFile(above, info) }) {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	chain = append(chain, info)
	for _, e := range entries {
		if err := w.visit(ctx, filepath.Join(path, e.Name()), chain); err != nil {
			return err
		}
	}
	return nil
}

// leadsOut reports whether a directory is a link to outside, or may be one.
func (w *walk) leadsOut(path string) bool {
	if w.inside == "" {
		return false
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return true
	}
	rel, err := filepath.Rel(w.inside, real)
	return err != nil || !filepath.IsLocal(rel)
}

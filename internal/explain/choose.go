package explain

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/patternmatcher"
)

// choose returns the indexes of the entries that one step reads, in order.
func choose(entries []entry, r read) ([]int, error) {
	wanted := make([]bool, len(entries))
	var except *patternmatcher.PatternMatcher
	if len(r.excludes) > 0 {
		var err error
		if except, err = patternmatcher.New(r.excludes); err != nil {
			return nil, err
		}
	}
	for _, source := range r.sources {
		if err := chooseOne(entries, source, r.parents, except, wanted); err != nil {
			return nil, err
		}
	}
	var out []int
	for i, w := range wanted {
		if w {
			out = append(out, i)
		}
	}
	return out, nil
}

func chooseOne(entries []entry, source string, parents bool, except *patternmatcher.PatternMatcher, wanted []bool) error {
	source = filepath.ToSlash(source)
	root, pattern := source, ""
	if parents {
		var pivoted bool
		if root, pattern, pivoted = strings.Cut(source, "/./"); !pivoted {
			root, pattern = "/", source
		}
	}
	root = strings.TrimPrefix(path.Join("/", root), "/")
	var include *patternmatcher.PatternMatcher
	if parents {
		var err error
		if include, err = patternmatcher.New([]string{strings.TrimPrefix(path.Join("/", pattern), "/")}); err != nil {
			return err
		}
	}
	root = resolve(entries, root)
	wild := strings.ContainsAny(root, `*?[\`)
	for i, e := range entries {
		relative, ok := below(e.path, root, wild)
		if !ok {
			continue
		}
		for _, m := range []struct {
			matcher *patternmatcher.PatternMatcher
			want    bool
		}{{include, true}, {except, false}} {
			if m.matcher == nil || relative == "" {
				continue
			}
			matches, err := m.matcher.MatchesOrParentMatches(relative)
			if err != nil {
				return err
			}
			ok = ok && matches == m.want
		}
		wanted[i] = wanted[i] || ok
	}
	return nil
}

// below reports whether name is root or below it, and as what: relative to a
// directory, or by its last part when it is root itself.
func below(name, root string, wild bool) (relative string, ok bool) {
	if root == "" {
		return name, true
	}
	if !wild {
		if name == root {
			return path.Base(name), true
		}
		return strings.CutPrefix(name, root+"/")
	}
	parts := strings.Split(name, "/")
	n := strings.Count(root, "/") + 1
	if len(parts) < n {
		return "", false
	}
	if ok, err := path.Match(root, strings.Join(parts[:n], "/")); err != nil || !ok {
		return "", false
	}
	if len(parts) == n {
		return path.Base(name), true
	}
	return strings.Join(parts[n:], "/"), true
}

// maxLinks is how many links a path may go through, as in Linux.
const maxLinks = 40

// resolve follows links in the context as BuildKit does: "/" is its root.
func resolve(entries []entry, name string) string {
	links := make(map[string]string)
	for _, e := range entries {
		if e.stat.Linkname != "" && os.FileMode(e.stat.Mode)&os.ModeSymlink != 0 {
			links[e.path] = e.stat.Linkname
		}
	}
	for range maxLinks {
		parts, changed := strings.Split(name, "/"), false
		for n := range parts {
			prefix := strings.Join(parts[:n+1], "/")
			target, ok := links[prefix]
			if !ok {
				continue
			}
			if !path.IsAbs(target) {
				target = path.Join("/", path.Dir(prefix), target)
			}
			name, changed = strings.TrimPrefix(path.Join("/", target, strings.Join(parts[n+1:], "/")), "/"), true
			break
		}
		if !changed {
			break
		}
	}
	return name
}

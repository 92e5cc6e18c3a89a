// Package truepath tells where paths lead that need not exist yet.
package truepath

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is what Linux follows in one path before it calls that a loop.
const maxLinks = 40

// Of returns the absolute path that writing to path would reach now: links are
// followed, also one to what is not there. Of a loop of links it returns as much
// as 40 links lead to.
func Of(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for range maxLinks {
		link, rest, ok := firstDangling(path)
		if !ok {
			return rest
		}
		to, err := os.Readlink(link)
		if err != nil {
			return path // it has gone in between
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(link), to)
		}
		path = filepath.Join(to, rest)
	}
	return path
}

// firstDangling splits path after the link in it that leads nowhere, if it has
// one. Otherwise rest is the path with its links followed.
func firstDangling(path string) (link, rest string, ok bool) {
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return "", filepath.Join(real, rest), false
		}
		if info, err := os.Lstat(dir); err == nil && info.Mode()&os.ModeSymlink != 0 {
			// A relative target counts from where the link truly lies.
			if real, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
				dir = filepath.Join(real, filepath.Base(dir))
			}
			return dir, rest, true
		}
		if dir == filepath.Dir(dir) {
			return "", path, false
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// Within reports whether path is dir or lies below it, links followed in both.
func Within(path, dir string) bool {
	rel, err := filepath.Rel(Of(dir), Of(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

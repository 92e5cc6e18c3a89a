package taskstore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/runner/internal/taskstore"
)

func TestPackagesThatCannotBeUsedAreRefused(t *testing.T) {
	other := strings.Replace(definition, "5c2f1b7e", "00000000", 1)
	newer := strings.Replace(definition, `"Patch": 3`, `"Patch": 4`, 1)
	link := func(name, target string) file { return file{name, target, fs.ModeSymlink | 0o777} }
	for name, body := range map[string][]byte{
		"empty":                      nil,
		"a page":                     []byte("<html>sign in</html>"),
		"no task.json":               archive(t, file{"main.js", "1", 0}),
		"task.json further down":     archive(t, file{"task/task.json", definition, 0}),
		"task.json is a folder":      archive(t, file{"task.json/x", "1", 0}),
		"another task":               archive(t, file{"task.json", other, 0}),
		"another version":            archive(t, file{"task.json", newer, 0}),
		"broken task.json":           archive(t, file{"task.json", "{", 0}),
		"cut off":                    whole(t)[:100],
		"a way up":                   whole(t, file{"../up.js", "1", 0}),
		"a way up in the middle":     whole(t, file{"a/../../up.js", "1", 0}),
		"an absolute name":           whole(t, file{"/tmp/up.js", "1", 0}),
		"a path without end":         whole(t, file{strings.Repeat("a/", 20_000) + "x", "1", 0}),
		"a deep link":                whole(t, link(strings.Repeat("a/", 64)+"x", "../x")),
		"a long name":                whole(t, file{strings.Repeat("a/./", 300) + "x", "1", 0}),
		"the same name twice":        whole(t, file{"main.js", "2", 0}),
		"a file below a file":        whole(t, file{"main.js/x", "2", 0}),
		"a device":                   whole(t, file{"zero", "", fs.ModeDevice | fs.ModeCharDevice | 0o666}),
		"a pipe":                     whole(t, file{"pipe", "", fs.ModeNamedPipe | 0o666}),
		"a link out":                 whole(t, link("out", "../../../../etc/passwd")),
		"an absolute link":           whole(t, link("out", "/etc/passwd")),
		"a link to nothing":          whole(t, link("out", "nothing")),
		"a link to itself":           whole(t, link("out", "out")),
		"a link with a long target":  whole(t, link("out", strings.Repeat("a", 5000))),
		"a file through a link":      whole(t, link("dir", ".."), file{"dir/up.js", "1", 0}),
		"out through another link":   whole(t, file{"r/x", "1", 0}, link("p/q", "../r"), link("out", "p/q/../../up.js")),
		"a file below a link's name": whole(t, link("a", "main.js"), link("a/b", "../main.js")),
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			dir := filepath.Join(outside, "a", "b")
			s := store(dir, serving(body))
			task, err := s.Ensure(t.Context(), sample)
			if !errors.Is(err, taskstore.ErrPackage) {
				t.Errorf("Ensure = %+v, %v; want an error that blames the package", task, err)
			}
			if left := listing(t, outside); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
			if s.calls.Load() != 1 {
				t.Errorf("%d downloads, want 1: the next would bring the same", s.calls.Load())
			}
		})
	}
}

func TestDeepPathsAreUnpacked(t *testing.T) {
	deep := strings.Repeat("a/", 63) + "x"
	s := store(t.TempDir(), serving(whole(t, file{deep, "here", 0}, file{"./", "", fs.ModeDir | 0o755})))
	task, err := s.Ensure(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(task.Dir, deep)); err != nil || string(text) != "here" {
		t.Errorf("at %s: %q, %v", deep, text, err)
	}
}

func TestLinksInsideAPackageAreKept(t *testing.T) {
	s := store(t.TempDir(), serving(whole(t,
		file{"node_modules/.bin/run", "../pkg/run.js", fs.ModeSymlink | 0o777}, file{"node_modules/pkg/run.js", "here", 0})))
	task, err := s.Ensure(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(task.Dir, "node_modules/.bin/run")); err != nil || string(text) != "here" {
		t.Errorf("behind the link: %q, %v", text, err)
	}
}

// The modes of an archive are somebody else's: nothing is writable for all, and
// nothing runs as its owner.
func TestOnlyTheExecutableBitIsTaken(t *testing.T) {
	s := store(t.TempDir(), serving(whole(t, file{"wide", "1", 0o666}, file{"su", "1", fs.ModeSetuid | 0o777}, file{"closed", "1", 0o400})))
	task, err := s.Ensure(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"wide": 0o644, "su": 0o755, "closed": 0o644} {
		if info, err := os.Stat(filepath.Join(task.Dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %s", name, info.Mode(), err, want)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(whole(f))
	f.Add(whole(f, file{"../up", "1", 0}, file{"l", "..", fs.ModeSymlink | 0o777}))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, body []byte) {
		outside := t.TempDir()
		dir := filepath.Join(outside, "a", "b")
		task, err := store(dir, serving(body)).Ensure(t.Context(), sample)
		for _, name := range listing(t, outside) {
			if err != nil || !strings.HasPrefix(name, "a/b/Sample_") {
				t.Errorf("left behind: %s (%v)", name, err)
			}
		}
		if err != nil {
			return
		}
		walk := filepath.WalkDir(task.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink == 0 {
				return err
			}
			real, err := filepath.EvalSymlinks(path)
			if err == nil && !strings.HasPrefix(real, task.Dir) {
				t.Errorf("link %s leads to %s", path, real)
			}
			return err
		})
		if walk != nil {
			t.Error(walk)
		}
	})
}

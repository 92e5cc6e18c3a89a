package gitsource

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
)

// What the next checkout meets in the directory of the last one, and what it has to
// make of it.
func TestANextCheckoutCopesWithWhatIsThere(t *testing.T) {
	t.Parallel()
	const fresh = "starting with a new one"
	for name, c := range map[string]struct {
		before func(*recorded) // the first checkout
		change func(t *testing.T, origin string, r *recorded)
		said   string
		reused bool
		files  map[string]string // name → text, or "" for none
	}{
		"nothing new": {reused: true, files: map[string]string{"file": "one", "a/x": "x", "b/y": "y"}},
		"locks of a killed git": {change: func(t *testing.T, _ string, r *recorded) {
			for _, name := range []string{"index.lock", "refs/remotes/origin/main.lock", "packed-refs.lock", "config.lock"} {
				write(t, r.file(name), "")
			}
			r.Clean = true
		}, reused: true, files: map[string]string{"file": "one"}},
		"another origin": {change: func(t *testing.T, _ string, r *recorded) {
			r.URL = "file://" + repository(t, "file", "another")
		}, said: "one of another origin; " + fresh, files: map[string]string{"file": "another", "a/x": ""}},
		"a HEAD of nothing": {change: func(t *testing.T, _ string, r *recorded) {
			write(t, r.file("HEAD"), "")
		}, said: "seems to be damaged; " + fresh, files: map[string]string{"file": "one"}},
		"objects are gone": {change: func(t *testing.T, origin string, r *recorded) {
			if err := os.RemoveAll(r.file("objects")); err != nil {
				t.Fatal(err)
			}
			commit(t, origin, "file", "two")
		}, said: "seems to be damaged; " + fresh, files: map[string]string{"file": "two"}},
		"an object is empty": {change: func(t *testing.T, origin string, r *recorded) {
			id := git(t, origin, "rev-parse", "HEAD:file")
			for _, dir := range []string{r.file("objects", "pack"), r.file("objects", id[:2])} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			write(t, r.file("objects", id[:2], id[2:]), "")
			write(t, filepath.Join(r.Dir, "file"), "changed")
		}, said: "seems to be damaged; " + fresh, files: map[string]string{"file": "one"}},
		"no repository": {change: func(t *testing.T, _ string, r *recorded) {
			if err := os.RemoveAll(r.file()); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(r.Dir, "left"), "x")
		}, files: map[string]string{"left": "", "file": "one"}},
		"a repository somewhere else": {change: func(t *testing.T, _ string, r *recorded) {
			elsewhere := filepath.Join(t.TempDir(), "git")
			if err := errors.Join(os.Rename(r.file(), elsewhere), os.Symlink(elsewhere, r.file())); err != nil {
				t.Fatal(err)
			}
		}, files: map[string]string{"file": "one"}},
		"no longer sparse": {before: func(r *recorded) { r.Sparse = []string{"a"} }, change: func(t *testing.T, _ string, r *recorded) {
			if there(filepath.Join(r.Dir, "b")) || !there(filepath.Join(r.Dir, "a", "x")) {
				t.Error("the first checkout was not sparse")
			}
			r.Sparse = nil
		}, reused: true, said: "sparse-checkout disable", files: map[string]string{"file": "one", "a/x": "x", "b/y": "y"}},
		"sparse from now on": {
			change: func(_ *testing.T, _ string, r *recorded) { r.Sparse = []string{"b"} },
			reused: true, files: map[string]string{"file": "one", "a/x": "", "b/y": "y"},
		},
		"other patterns": {
			before: func(r *recorded) { r.Sparse = []string{"a"} },
			change: func(_ *testing.T, _ string, r *recorded) { r.Sparse, r.Patterns = nil, []string{"/*", "!/a"} },
			reused: true, files: map[string]string{"file": "one", "a/x": "", "b/y": "y"},
		},
		"no longer shallow": {before: func(r *recorded) { r.Depth = 1 }, change: func(t *testing.T, _ string, r *recorded) {
			r.Depth = 0
		}, reused: true, said: "--unshallow", files: map[string]string{"file": "one"}},
		"no longer filtered": {before: func(r *recorded) { r.Filter = "blob:none" }, change: func(_ *testing.T, _ string, r *recorded) {
			r.Filter = ""
		}, said: "fetched with another filter; " + fresh, files: map[string]string{"file": "one"}},
		"a new commit of a filtered one": {before: func(r *recorded) { r.Filter = "blob:none" }, change: func(t *testing.T, origin string, _ *recorded) {
			commit(t, origin, "file", "two")
		}, reused: true, files: map[string]string{"file": "two"}},
		"history was rewritten": {change: func(t *testing.T, origin string, r *recorded) {
			r.Commit = commit(t, origin, "file", "lost")
			git(t, origin, "reset", "-q", "--hard", "HEAD~")
			commit(t, origin, "file", "instead")
		}, reused: true, files: map[string]string{"file": "lost"}},
		"the branch is gone, the commit is not": {change: func(t *testing.T, origin string, r *recorded) {
			r.Ref, r.Commit = "refs/heads/gone", git(t, origin, "rev-parse", "HEAD")
		}, reused: true, files: map[string]string{"file": "one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := repository(t, "file", "zero", "a/x", "x", "b/y", "y")
			commit(t, origin, "file", "one")
			r := source(t, "file://"+origin)
			if c.before != nil {
				c.before(r)
			}
			r.mustCheckout(t)
			r = r.again()
			if c.change != nil {
				c.change(t, origin, r)
			}
			r.mustCheckout(t)
			r.mustSay(t, c.said)
			if r.reused != c.reused {
				t.Errorf("the repository was used again: %t, want %t\n%s", r.reused, c.reused, r.log())
			}
			for file, text := range c.files {
				if text != "" {
					r.mustHave(t, file, text)
				} else if there(filepath.Join(r.Dir, file)) {
					t.Errorf("%s is there\n%s", file, r.log())
				}
			}
			if r.Filter == "" && r.Depth == 0 && there(r.file("shallow")) {
				t.Error("the repository is still shallow")
			}
			if name != "no longer sparse" && len(r.Sparse)+len(r.Patterns) == 0 {
				git(t, r.Dir, "diff", "--exit-code", "HEAD")
			}
		})
	}
}

func TestWhatIsNotInTheRepositoryIsNamed(t *testing.T) {
	t.Parallel()
	full := repository(t, "file", "one")
	empty := filepath.Join(t.TempDir(), "empty")
	git(t, "/", "init", "-q", "-b", "main", empty)
	for name, c := range map[string]struct {
		address, ref, commit, want string
	}{
		"an empty repository":  {empty, "refs/heads/main", "", "has no such branch or tag, or is empty"},
		"a deleted branch":     {full, "refs/heads/gone", "", "checking out refs/heads/gone: the repository file://"},
		"a commit that is not": {full, "refs/heads/main", strings.Repeat("1", 40), "removed by a push with force"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := source(t, "file://"+c.address)
			r.Ref, r.Commit = c.ref, c.commit
			err := r.Checkout(t.Context())
			if err == nil || !strings.Contains(err.Error()+strings.Join(hint.All(err), "\n"), c.want) {
				t.Errorf("Checkout = %v with %q, want %q", err, hint.All(err), c.want)
			}
		})
	}
}

func TestBranchesOfAllNamesAreCheckedOut(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", "one")
	const name = "größe/日本-a'b;y&z$(id)#12%"
	git(t, origin, "branch", name)
	for _, depth := range []int{0, 1} {
		r := source(t, "file://"+origin)
		r.Ref, r.Depth = "refs/heads/"+name, depth
		r.mustCheckout(t)
		r.mustHave(t, "file", "one")
	}
}

// A damaged submodule would stay so for ever.
func TestADamagedSubmoduleIsFetchedAnew(t *testing.T) {
	t.Parallel()
	sub, origin := repository(t, "lib", "library"), repository(t, "file", "one")
	git(t, origin, "submodule", "add", "-q", sub, "lib")
	commit(t, origin)
	r := source(t, "file://"+origin)
	r.Submodules = "recursive"
	r.mustCheckout(t)
	if err := os.RemoveAll(r.file("modules", "lib", "objects")); err != nil {
		t.Fatal(err)
	}
	commit(t, sub, "lib", "newer")
	git(t, filepath.Join(origin, "lib"), "pull", "-q")
	commit(t, origin)
	r.again().mustCheckout(t)
	r.mustHave(t, "lib/lib", "newer")
	if !r.reused {
		t.Error("the whole repository was fetched again")
	}
}

func TestAGitThatIsTooOldIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		version version
		ok      bool
	}{
		"git version 2.39.5\n":                     {version{2, 39}, true},
		"git version 2.39.5 (Apple Git-154)":       {version{2, 39}, true},
		"git version 2.50.0.windows.1":             {version{2, 50}, true},
		"git version 3.0-rc1":                      {version{3, 0}, true},
		"git version 2.x":                          {},
		"hg version 2.39":                          {},
		"git version 99999999999999999999999999.1": {},
	} {
		if v, ok := parseVersion(text); ok != want.ok || v != want.version && ok {
			t.Errorf("parseVersion(%q) = %v, %t, want %v, %t", text, v, ok, want.version, want.ok)
		}
	}
	for v, want := range map[version]bool{{1, 99}: true, {2, 30}: true, {2, 31}: false, {3, 0}: false} {
		if got := v.before(oldest); got != want {
			t.Errorf("%s is too old: %t, want %t", v, got, want)
		}
	}
}

func FuzzVersion(f *testing.F) {
	for _, seed := range []string{"git version 2.39.5", "git version 2.", "git version -1.2", "git version 2.3\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, ok := parseVersion(text); ok && (v[0] < 0 || v[1] < 0) {
			t.Errorf("parseVersion(%q) = %v", text, v)
		}
	})
}

// Git writes the file, so git is asked what it reads.
func FuzzSetting(f *testing.F) {
	for _, seed := range []string{"https://host/a;b#c", ` "x" `, "back\\slash", "tab\tend", "plain", "  blanks  ", "ä\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsRune(value, 0) || len(value) > 1000 || strings.ContainsRune(value, '\r') || !strings.Contains(value, strings.ToValidUTF8(value, "")) || strings.ToValidUTF8(value, "") != value {
			t.Skip("git keeps no such value in its configuration")
		}
		file := filepath.Join(t.TempDir(), "config")
		git(t, "/", "config", "--file", file, "remote.origin.url", value)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := setting(data, `remote "origin"`, "URL"); !ok || got != value {
			t.Errorf("setting of %q = %q, %t, want %q", data, got, ok, value)
		}
		if _, ok := setting(data, `remote "other"`, "url"); ok {
			t.Errorf("another section of %q has the setting", data)
		}
	})
}

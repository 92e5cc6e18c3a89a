package gitsource

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A build of a fork leaves its workspace to the next job of the pipeline, whose
// checkout has a token.
func TestACheckoutObeysNothingThatAJobLeftInTheRepository(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config string                          // added to the configuration
		leave  func(t *testing.T, r *recorded) // what else the job does; evil is a program that leaves a mark
		said   string
		reused bool
	}{
		"a program that watches files": {config: "[core]\n\tfsmonitor = EVIL\n", said: "what no checkout puts there: core.fsmonitor", reused: true},
		"hooks elsewhere":              {config: "[core]\n\thooksPath = EVIL.hooks\n", said: "core.hookspath", reused: true},
		"an included file":             {config: "[include]\n\tpath = EVIL.config\n", said: "include.path", reused: true},
		"an included file on a condition": {
			config: "[includeIf \"gitdir:/**\"]\n\tpath = EVIL.config\n", said: "includeif.*.path", reused: true,
		},
		"another server":       {config: "[url \"file://user:secret@EVIL/\"]\n\tinsteadOf = file://\n", said: "url.*.insteadof", reused: true},
		"a filter":             {config: "[filter \"lfs\"]\n\tsmudge = EVIL\n\tclean = EVIL\n[filter \"x\"]\n\tsmudge = EVIL\n", said: "filter.*.smudge, filter.*.clean", reused: true},
		"a proxy":              {config: "[remote \"origin\"]\n\tproxy = http://EVIL\n\tuploadpack = EVIL\n", said: "remote.*.proxy, remote.*.uploadpack", reused: true},
		"a helper":             {config: "[credential]\n\thelper = EVIL\n", said: "credential.helper", reused: true},
		"what a step may need": {config: "[user]\n\tname = a\n", said: "user.name", reused: true},
		"another address before ours": {leave: func(t *testing.T, r *recorded) {
			write(t, r.file("config"), "[remote \"origin\"]\n\turl = file:///evil\n"+read(t, r.file("config")))
		}, said: "has remote.*.url twice"},
		"other branches": {leave: func(t *testing.T, r *recorded) {
			git(t, r.Dir, "config", "remote.origin.fetch", "+refs/heads/evil:refs/remotes/origin/main")
		}, said: "is set to fetch other branches"},
		"a setting behind the name of its section": {config: "[core] fsmonitor = EVIL\n", said: "is not as git writes it"},
		"a setting on two lines":                   {config: "[gc]\n\tx = \\\n[core]\n", said: "is not as git writes it"},
		"an old way to write a section":            {config: "[core.x]\n\tfsmonitor = EVIL\n", said: "is not as git writes it"},
		"an extension":                             {config: "[extensions]\n\tpreciousObjects = true\n", said: "has the extension preciousobjects"},
		"a configuration of the working tree": {config: "[extensions]\n\tworktreeConfig = true\n", leave: func(t *testing.T, r *recorded) {
			write(t, r.file("config.worktree"), "[core]\n\tfsmonitor = "+r.Dir+".evil\n")
		}, said: "config.worktree what no checkout puts there: core.fsmonitor", reused: true},
		"a configuration that is a link": {leave: func(t *testing.T, r *recorded) {
			if err := errors.Join(os.Rename(r.file("config"), r.Dir+".config"), os.Symlink(r.Dir+".config", r.file("config"))); err != nil {
				t.Fatal(err)
			}
		}, said: "is no plain file"},
		"a configuration elsewhere": {leave: func(t *testing.T, r *recorded) { write(t, r.file("commondir"), "../elsewhere") }, said: "configuration somewhere else"},
		"hooks": {leave: func(t *testing.T, r *recorded) {
			for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change"} {
				write(t, r.file("hooks", hook), read(t, r.Dir+".evil"))
				if err := os.Chmod(r.file("hooks", hook), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}, reused: true},
		"a program of a submodule": {leave: func(t *testing.T, r *recorded) {
			git(t, r.Dir, "config", "--file", r.file("modules", "lib", "config"), "core.fsmonitor", r.Dir+".evil")
		}, said: "modules/lib/config what no checkout puts there: core.fsmonitor", reused: true},
		"a submodule's files elsewhere": {leave: func(t *testing.T, r *recorded) {
			git(t, r.Dir, "config", "--file", r.file("modules", "lib", "config"), "core.worktree", "../../../../elsewhere")
		}, said: "has its files outside"},
		"a submodule's repository elsewhere": {leave: func(t *testing.T, r *recorded) {
			write(t, filepath.Join(r.Dir, "lib", ".git"), "gitdir: "+r.Dir+".elsewhere\n")
		}, said: "is no link to the repository of a submodule"},
		"a repository in a submodule": {leave: func(t *testing.T, r *recorded) {
			if err := os.Remove(filepath.Join(r.Dir, "lib", ".git")); err != nil {
				t.Fatal(err)
			}
			git(t, filepath.Join(r.Dir, "lib"), "init", "-q")
		}, said: "is no link to the repository of a submodule"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := repository(t, "file", "one", ".gitattributes", "* filter=x\n")
			r := source(t, "file://"+origin)
			r.Clean = true
			if strings.Contains(name, "submodule") {
				git(t, origin, "submodule", "add", "-q", repository(t, "lib", "library"), "lib")
				commit(t, origin)
				r.Submodules = "recursive"
			}
			r.mustCheckout(t)
			evil := r.Dir + ".evil"
			write(t, evil, "#!/bin/sh\ntouch '"+evil+".ran'\n")
			if err := os.Chmod(evil, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, evil+".config", "[core]\n\tfsmonitor = "+evil+"\n")
			write(t, r.file("config"), read(t, r.file("config"))+strings.ReplaceAll(c.config, "EVIL", evil))
			if c.leave != nil {
				c.leave(t, r)
			}
			commit(t, origin, "file", "two")
			r.again().mustCheckout(t)
			r.mustHave(t, "file", "two")
			if r.Submodules != "" {
				r.mustHave(t, "lib/lib", "library")
			}
			r.mustSay(t, c.said)
			if there(evil + ".ran") {
				t.Errorf("git ran a program that a job left:\n%s", r.log())
			}
			if strings.Contains(r.log(), "secret") {
				t.Errorf("a password was told:\n%s", r.log())
			}
			if r.reused != c.reused {
				t.Errorf("the repository was used again: %t, want %t\n%s", r.reused, c.reused, r.log())
			}
		})
	}
}

// Git looks for a repository in the folders above, too, when it asks the server.
func TestARepositoryAroundTheSourcesIsNotObeyed(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", "one")
	r := source(t, "file://"+origin)
	r.mustCheckout(t)
	around := filepath.Dir(r.Dir)
	git(t, around, "init", "-q")
	git(t, around, "config", "url.file:///evil/.insteadOf", "file://")
	if err := os.RemoveAll(r.file("objects")); err != nil { // the server is asked whose fault it is
		t.Fatal(err)
	}
	commit(t, origin, "file", "two")
	r.again().mustCheckout(t)
	r.mustHave(t, "file", "two")
	r.mustSay(t, "ls-remote")
	if strings.Contains(r.log(), "/evil/") {
		t.Errorf("git asked another server:\n%s", r.log())
	}
}

// What a checkout writes is nothing to remove.
func TestARepositoryThatNoJobChangedStaysAsItIs(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git-lfs"); err != nil {
		t.Fatal("git-lfs is missing: make setup installs it")
	}
	sub, origin := repository(t, "lib", "library"), repository(t, "file", "one", "a/x", "x")
	git(t, origin, "submodule", "add", "-q", sub, "lib")
	commit(t, origin)
	r := source(t, "file://"+origin)
	r.Submodules, r.LFS, r.Filter, r.Sparse = "recursive", true, "blob:none", []string{"a"}
	r.mustCheckout(t)
	git(t, r.Dir, "checkout", "-q", "-b", "topic", "--track", "origin/main") // as a step may
	for range 2 {
		r.again().mustCheckout(t)
		if !r.reused || strings.Contains(r.log(), "no checkout puts there") {
			t.Errorf("the repository was used again: %t\n%s", r.reused, r.log())
		}
	}
}

func TestOtherSettingsThanOursAreFound(t *testing.T) {
	kept, foreign, err := onlyOurs([]byte("# a comment\n[core]\n\tbare = false\n\tfsmonitor\n[remote \"Origin\"]\n\turl = x\n[BRANCH \"a b\"]\n\tremote = origin\n\tremote = evil\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("# a comment\n[core]\n\tbare = false\n[remote \"Origin\"]\n[BRANCH \"a b\"]\n\tremote = origin\n", string(kept)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"core.fsmonitor", "remote.*.url", "branch.*.remote"}, foreign); diff != "" {
		t.Errorf("foreign (-want +got):\n%s", diff)
	}
}

// Git reads what is kept, so git is asked what that says.
func FuzzOnlyOurs(f *testing.F) {
	for _, seed := range []string{
		"[core]\n\tbare = false\n", "[core] fsmonitor = x\n", "[core]\nbare = \\\n[x]\n", "\xef\xbb\xbf[core]\n", "[gc]\n\tauto = \"a\n[core]\nfsmonitor = x\n",
		"[remote \"a\\\"b\"]\n\turl = x # y\n", "[submodule \"]\"]\n\turl = x\r\n", "[core]\rfsmonitor = x\n", "[core]\n\tbare = a\x00\n", "[core]\n\tbare ; = x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kept, _, err := onlyOurs(data, "")
		if err != nil {
			return
		}
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, kept, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "git", "config", "--file", file, "--null", "--list")
		cmd.Env = environment(nil)
		out, err := cmd.Output()
		if err != nil {
			return // git does not read it at all
		}
		var names []string
		for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
			if entry == "" {
				continue
			}
			name, value, has := strings.Cut(entry, "\n")
			if !has {
				value = "true"
			}
			first, last := strings.Index(name, "."), strings.LastIndex(name, ".")
			o := one{section: name[:first], key: name[last+1:], value: value}
			if o.named = first != last; o.named {
				o.sub = name[first+1 : last]
			}
			if !o.ours() || slices.Contains(names, name) {
				t.Errorf("of %q git reads %q", data, entry)
			}
			names = append(names, name)
		}
	})
}

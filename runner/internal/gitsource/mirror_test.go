package gitsource

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/runner/internal/plainfile"
)

// mirrored returns a source that uses the mirrors in dir.
func mirrored(t *testing.T, address, dir string) *recorded {
	t.Helper()
	r := source(t, address)
	r.Mirrors = Mirrors{Dir: dir, Scratch: t.TempDir(), Run: r.Run, Wait: time.Minute}
	return r
}

func noise(t *testing.T, bytes int) string {
	t.Helper()
	b := make([]byte, bytes/2)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func theMirror(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "objects"))
	if err != nil || len(found) != 1 {
		t.Fatalf("mirrors in %s: %v, %v; want one", dir, found, err)
	}
	return filepath.Dir(found[0])
}

// packed is what is said when objects came over the wire.
const packed = "remote: Counting objects"

func TestAMirrorSparesTheServer(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", noise(t, 1<<16))
	first := git(t, origin, "rev-parse", "HEAD")
	git(t, origin, "tag", "-a", "-m", "a tag", "v1")
	pull := commit(t, origin, "file", "pull")
	git(t, origin, "update-ref", "refs/pull/7/merge", pull)
	git(t, origin, "reset", "-q", "--hard", first)
	commit(t, origin, "file", "two")
	mirrors := t.TempDir()
	mirrored(t, "file://"+origin, mirrors).mustCheckout(t)
	for name, c := range map[string]struct {
		change func(*recorded)
		want   string
	}{
		"a branch":           {func(*recorded) {}, "two"},
		"a commit":           {func(r *recorded) { r.Commit = first }, ""},
		"a tag":              {func(r *recorded) { r.Ref, r.Tags = "refs/tags/v1", true }, ""},
		"a shallow branch":   {func(r *recorded) { r.Depth = 1 }, "two"},
		"a shallow commit":   {func(r *recorded) { r.Depth, r.Commit = 1, first }, ""},
		"a pull request":     {func(r *recorded) { r.Ref = "refs/pull/7/merge" }, "pull"},
		"a shallow pull":     {func(r *recorded) { r.Ref, r.Depth = "refs/pull/7/merge", 1 }, "pull"},
		"tags and a branch":  {func(r *recorded) { r.Tags = true }, "two"},
		"a sparse directory": {func(r *recorded) { r.Sparse = []string{"none"} }, "two"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := mirrored(t, "file://"+origin, mirrors)
			c.change(r)
			r.mustCheckout(t)
			if c.want != "" {
				r.mustHave(t, "file", c.want)
			}
			_, after, ok := strings.Cut(r.log(), "git "+strings.Join(r.fetchOptions(), " ")+" --progress --no-recurse-submodules origin")
			if !ok || strings.Contains(after, packed) {
				t.Errorf("objects came from the server although the mirror has them:\n%s", r.log())
			}
			if strings.Contains(r.log(), "is not used") {
				t.Errorf("the mirror was not used:\n%s", r.log())
			}
			if there(r.file("objects", "info", "alternates")) {
				t.Error("the checkout depends on the mirror")
			}
			git(t, r.Dir, "fsck", "--full", "--strict")
			if left, err := os.ReadDir(r.Mirrors.Scratch); err != nil || len(left) != 0 {
				t.Errorf("left in the directory of the job: %v, %v", left, err)
			}
		})
	}
}

func TestWhatIsDeletedAtTheServerIsDeletedInTheMirrorToo(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", "one")
	mirrors := t.TempDir()
	git(t, origin, "branch", "topic")
	git(t, origin, "tag", "gone")
	mirrored(t, "file://"+origin, mirrors).mustCheckout(t)
	git(t, origin, "branch", "-D", "topic")
	git(t, origin, "tag", "-d", "gone")
	git(t, origin, "branch", "topic/deeper") // which cannot be beside topic
	r := mirrored(t, "file://"+origin, mirrors)
	r.Tags = true
	r.mustCheckout(t)
	if got, want := git(t, r.Dir, "for-each-ref", "--format=%(refname)"), "refs/remotes/origin/main\nrefs/remotes/origin/topic/deeper"; got != want {
		t.Errorf("refs = %s\nwant %s\n%s", got, want, r.log())
	}
}

// Jobs run as the user of the agent, so one can do all of this to a mirror.
func TestAMirrorThatAJobChangedHarmsNobody(t *testing.T) {
	t.Parallel()
	const evil = "#!/bin/sh\ntouch \"$0.ran\"\n"
	for name, c := range map[string]struct {
		change func(t *testing.T, origin, mirror string)
		said   string // about the mirror
	}{
		"packs are gone": {func(t *testing.T, _, mirror string) {
			if err := os.RemoveAll(filepath.Join(mirror, "objects", "pack")); err != nil {
				t.Fatal(err)
			}
		}, ""}, // git fetches them again
		"packs are cut off": {func(t *testing.T, _, mirror string) {
			for _, file := range packs(t, mirror, "*.pack") {
				if err := os.Truncate(file, 40); err != nil {
					t.Fatal(err)
				}
			}
		}, "has been removed"},
		"refs are no text": {func(t *testing.T, _, mirror string) {
			write(t, filepath.Join(mirror, "packed-refs"), "\x00\xff\n# pack-refs with: peeled fully-peeled sorted\nnonsense\n")
		}, ""},
		"refs are of commits that are nowhere": {func(t *testing.T, _, mirror string) {
			write(t, filepath.Join(mirror, "packed-refs"), strings.Repeat("1", 40)+" refs/heads/main\n")
		}, "has been removed"},
		"refs are a device": {func(t *testing.T, _, mirror string) {
			file := filepath.Join(mirror, "packed-refs")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/dev/zero", file); err != nil {
				t.Fatal(err)
			}
		}, "has been removed"},
		"refs are a pipe": {func(t *testing.T, _, mirror string) { instead(t, filepath.Join(mirror, "packed-refs"), pipe) }, "has been removed"},
		"refs are a directory": {func(t *testing.T, _, mirror string) {
			instead(t, filepath.Join(mirror, "packed-refs"), func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o750) })
		}, "has been removed"},
		"objects are a file": {func(t *testing.T, _, mirror string) {
			instead(t, filepath.Join(mirror, "objects"), func(path string) error { return os.WriteFile(path, nil, 0o600) })
		}, "has been removed"},
		"objects are a link": {func(t *testing.T, _, mirror string) {
			instead(t, filepath.Join(mirror, "objects"), func(path string) error { return os.Symlink(t.TempDir(), path) })
		}, "has been removed"},
		"a pack is a pipe": {func(t *testing.T, _, mirror string) { instead(t, packs(t, mirror, "*.idx")[0], pipe) }, "has been removed"},
		"other objects are in a pipe": {func(t *testing.T, _, mirror string) {
			instead(t, filepath.Join(mirror, "objects", "info", "alternates"), pipe)
		}, "has been removed"},
		"it has a configuration and hooks": {func(t *testing.T, _, mirror string) {
			write(t, filepath.Join(mirror, "config"), "[core]\n\thooksPath = "+mirror+"\n\tfsmonitor = "+mirror+"/post-checkout\n[uploadpack]\n\tpackObjectsHook = "+mirror+"/post-checkout\n")
			for _, hook := range []string{"reference-transaction", "post-checkout", "hooks/reference-transaction"} {
				write(t, filepath.Join(mirror, hook), evil)
				if err := os.Chmod(filepath.Join(mirror, hook), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}, ""},
		"a pack has other content under the same name": {forge, "has been removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := repository(t, "file", "what the server has")
			mirrors := t.TempDir()
			mirrored(t, "file://"+origin, mirrors).mustCheckout(t)
			mirror := theMirror(t, mirrors)
			c.change(t, origin, mirror)
			r := mirrored(t, "file://"+origin, mirrors)
			r.mustCheckout(t)
			r.mustHave(t, "file", "what the server has")
			r.mustSay(t, c.said)
			git(t, r.Dir, "fsck", "--full", "--strict")
			if ran, _ := filepath.Glob(filepath.Join(mirror, "*.ran")); len(ran) > 0 {
				t.Errorf("git ran %v", ran)
			}
			if c.said == "has been removed" {
				r := mirrored(t, "file://"+origin, mirrors)
				r.mustCheckout(t)
				if strings.Contains(r.log(), "not used") {
					t.Errorf("the next checkout did not make the mirror again:\n%s", r.log())
				}
			}
		})
	}
}

// instead puts something else in the place of a file or directory.
func instead(t *testing.T, path string, put func(path string) error) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(path), put(path)); err != nil {
		t.Fatal(err)
	}
}

func pipe(path string) error { return syscall.Mkfifo(path, 0o600) }

func packs(t *testing.T, mirror, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(mirror, "objects", "pack", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("packs of the mirror: %v, %v", files, err)
	}
	for _, file := range files {
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// forge makes the mirror one of loose objects, which git believes to be what their
// file is called, and puts something else in the place of the content of a file.
func forge(t *testing.T, origin, mirror string) {
	t.Helper()
	for _, file := range packs(t, mirror, "*") {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	loose := func(objects, id string) string { return filepath.Join(objects, id[:2], id[2:]) }
	from, to := filepath.Join(origin, ".git", "objects"), filepath.Join(mirror, "objects")
	for _, object := range []string{"HEAD", "HEAD^{tree}"} {
		id := git(t, origin, "rev-parse", object)
		write(t, loose(to, id), read(t, loose(from, id)))
	}
	evil := filepath.Join(t.TempDir(), "evil")
	write(t, evil, "what somebody likes")
	write(t, loose(to, git(t, origin, "rev-parse", "HEAD:file")), read(t, loose(from, git(t, origin, "hash-object", "-w", evil))))
}

func TestAMirrorThatIsLockedIsNotWaitedForEndlessly(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", "one")
	mirrors := t.TempDir()
	for _, suffix := range []string{".lock", ".use"} {
		release, err := plainfile.Lock{Path: filepath.Join(mirrors, mirrorName("file://"+origin)+suffix)}.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := mirrored(t, "file://"+origin, mirrors)
		r.Mirrors.Wait = 10 * time.Millisecond
		r.mustCheckout(t)
		r.mustHave(t, "file", "one")
		r.mustSay(t, "is not used: another agent has been working on it for 10ms")
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever opens a pipe waits for a writer, unless he says that he will not.
func TestAPipeForALockOfAMirrorIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".lock", ".use"} {
		origin := repository(t, "file", "one")
		mirrors := t.TempDir()
		mirrored(t, "file://"+origin, mirrors).mustCheckout(t)
		lock := theMirror(t, mirrors) + suffix
		instead(t, lock, pipe)
		r := mirrored(t, "file://"+origin, mirrors)
		r.mustCheckout(t)
		r.mustHave(t, "file", "one")
		r.mustSay(t, "is not used: opening "+lock+": it is no plain file")
	}
}

// Whoever may not read a repository gets nothing from its mirror, and breaks nothing.
func TestAMirrorGivesNothingToThoseWhomTheServerTurnsAway(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", "one")
	mirrors := t.TempDir()
	mirrored(t, "file://"+origin, mirrors).mustCheckout(t)
	if err := os.Rename(origin, origin+"-closed"); err != nil {
		t.Fatal(err)
	}
	r := mirrored(t, "file://"+origin, mirrors)
	if err := r.Checkout(t.Context()); err == nil || there(filepath.Join(r.Dir, "file")) || strings.Contains(r.log(), "has been removed") {
		t.Errorf("Checkout = %v; want an error, no files, and the mirror left alone:\n%s", err, r.log())
	}
	if err := os.Rename(origin+"-closed", origin); err != nil {
		t.Fatal(err)
	}
	// An update that fails once is no reason to remove a mirror.
	r = mirrored(t, "file://"+origin, mirrors)
	failed := false
	r.Mirrors.Run = func(ctx context.Context, dir string, config map[string]string, args ...string) error {
		if slices.Contains(args, "fetch") && !failed {
			failed = true
			return errors.New("busy")
		}
		return r.Run(ctx, dir, config, args...)
	}
	r.mustCheckout(t)
	r.mustSay(t, "is not used: fetching into the mirror failed: busy")
	if strings.Contains(r.log(), "has been removed") {
		t.Errorf("the mirror was removed:\n%s", r.log())
	}
}

func TestManyAgentsShareAMirror(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", noise(t, 1<<16))
	mirrors := t.TempDir()
	var g errgroup.Group
	sources := make([]*recorded, 4)
	for i := range sources {
		sources[i] = mirrored(t, "file://"+origin, mirrors)
		g.Go(func() error { return sources[i].Checkout(t.Context()) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	fetched := 0
	for _, r := range sources {
		before, _, _ := strings.Cut(r.log(), "pack-refs")
		if strings.Contains(before, packed) {
			fetched++
		}
		if strings.Contains(r.log(), "not used") {
			t.Errorf("an agent went without the mirror:\n%s", r.log())
		}
	}
	if fetched != 1 {
		t.Errorf("%d agents fetched the repository from the server, want one", fetched)
	}
}

func TestPacksOfAMirrorAreJoined(t *testing.T) {
	t.Parallel()
	origin := repository(t, "file", "one")
	mirrors := t.TempDir()
	mirrored(t, "file://"+origin, mirrors).mustCheckout(t)
	objects := filepath.Join(theMirror(t, mirrors), "objects")
	for i := range manyPacks { // as fetches leave them
		cmd := exec.CommandContext(t.Context(), "git", "--git-dir="+filepath.Join(origin, ".git"), "fast-import", "--quiet")
		cmd.Env = append(environment(map[string]string{"fastimport.unpackLimit": "1"}), "GIT_OBJECT_DIRECTORY="+objects)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("blob\ndata 2\n%02d\n", i))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("making a pack: %v\n%s", err, out)
		}
	}
	r := mirrored(t, "file://"+origin, mirrors)
	r.mustCheckout(t)
	if n := len(packs(t, theMirror(t, mirrors), "*.pack")); n >= manyPacks {
		t.Errorf("the mirror has %d packs, want fewer than %d\n%s", n, manyPacks, r.log())
	}
	git(t, r.Dir, "fsck", "--full")
}

func TestNamesOfMirrors(t *testing.T) {
	names := make(map[string]string)
	for address, prefix := range map[string]string{
		"https://org@dev.azure.com/org/p/_git/web":    "web-",
		"https://dev.azure.com/org/p/_git/web":        "web-",
		"https://dev.azure.com/org/My%20P/_git/a%20b": "a-b-",
		"https://host/x/..":                           "",
		"git@host:group/tool.git":                     "tool-",
		"https://host/" + strings.Repeat("ä", 500):    "",
	} {
		name := mirrorName(address)
		if !strings.HasPrefix(name, prefix) || !filepath.IsLocal(name) || strings.ContainsAny(name, "/.") || len(name) > 80 {
			t.Errorf("mirrorName(%q) = %q", address, name)
		}
		if other, ok := names[name]; ok {
			t.Errorf("%q and %q share the name %q", address, other, name)
		}
		names[name] = address
	}
}

func FuzzOnlyRefs(f *testing.F) {
	id := strings.Repeat("0a", 20)
	for _, seed := range []string{"# pack-refs with: peeled\n" + id + " refs/heads/main\n^" + id + "\n", id + " refs/pull/1/merge\n", id + " refs/tags/a b\n", id + " refs/heads/ä", id + " refs/tags/\n", "\r\n\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := onlyRefs(data)
		if string(onlyRefs(got)) != string(got) {
			t.Errorf("onlyRefs(%q) = %q, of which it keeps less", data, got)
		}
		for line := range strings.Lines(string(got)) {
			if len(line) < 53 || line[40] != ' ' || !strings.HasSuffix(line, "\n") || strings.ContainsAny(line, "\x00\t\r^") {
				t.Errorf("onlyRefs(%q) kept %q", data, line)
			}
		}
	})
}

package warm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

// roomy is more than any of these trees has.
const roomy = 1 << 30

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(content), 0o600))
}

func stat(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("%s has no owner", path)
	}
	return sys
}

func TestACopyIsLikeItsOriginal(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	write(t, filepath.Join(from, "sub/deep/file"), strings.Repeat("x", 70_000))
	write(t, filepath.Join(from, "empty"), "")
	write(t, filepath.Join(from, "mysqld.pid"), "7")
	must(t,
		os.Link(filepath.Join(from, "sub/deep/file"), filepath.Join(from, "again")),
		os.Symlink("/etc/passwd", filepath.Join(from, "link")),
		unix.Mkfifo(filepath.Join(from, "pipe"), 0o600),
		os.Chmod(filepath.Join(from, "sub/deep/file"), 0o640|os.ModeSetuid),
		os.Chmod(filepath.Join(from, "sub"), 0o770|os.ModeSticky),
		os.Chtimes(filepath.Join(from, "sub/deep/file"), at, at),
		os.Chtimes(filepath.Join(from, "sub"), at, at),
		os.Chmod(from, 0o711),
	)
	owned := os.Geteuid() == 0
	if owned {
		must(t, os.Lchown(filepath.Join(from, "sub/deep/file"), 7, 8), os.Lchown(filepath.Join(from, "link"), 9, 10),
			os.Chmod(filepath.Join(from, "sub/deep/file"), 0o640|os.ModeSetuid))
	}
	attributes := unix.Setxattr(filepath.Join(from, "sub/deep/file"), "user.kind", []byte("table"), 0) == nil

	tally, err := warm.Copy(t.Context(), to, from, roomy)
	if err != nil || tally.Files != 6 {
		t.Errorf("Copy = %+v, %v; want 6 files", tally, err)
	}
	for _, name := range []string{".", "sub", "sub/deep", "sub/deep/file", "empty", "link"} {
		want, got := stat(t, filepath.Join(from, name)), stat(t, filepath.Join(to, name))
		if want.Mode != got.Mode || want.Uid != got.Uid || want.Gid != got.Gid || want.Nlink != got.Nlink {
			t.Errorf("%s: mode %o, owner %d:%d, names %d; want %o, %d:%d, %d",
				name, got.Mode, got.Uid, got.Gid, got.Nlink, want.Mode, want.Uid, want.Gid, want.Nlink)
		}
	}
	for _, name := range []string{"sub", "sub/deep/file"} {
		if info, err := os.Stat(filepath.Join(to, name)); err != nil || !info.ModTime().Equal(at) {
			t.Errorf("%s is of %v, %v; want %v", name, info.ModTime(), err, at)
		}
	}
	if a, b := stat(t, filepath.Join(to, "again")), stat(t, filepath.Join(to, "sub/deep/file")); a.Ino != b.Ino {
		t.Error("two names of one file have become two files")
	}
	if text, err := os.Readlink(filepath.Join(to, "link")); err != nil || text != "/etc/passwd" {
		t.Errorf("the link says %q, %v", text, err)
	}
	for _, name := range []string{"pipe", "mysqld.pid"} {
		if _, err := os.Lstat(filepath.Join(to, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was copied (%v)", name, err)
		}
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(filepath.Join(to, "sub/deep/file"), "user.kind", value); attributes && (err != nil || string(value[:n]) != "table") {
		t.Errorf("the attribute is %q, %v; want %q", value[:max(n, 0)], err, "table")
	}
}

func TestHolesStayHoles(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(from, "sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("middle"), 8<<20)
	must(t, err, f.Truncate(64<<20), f.Close())
	tally, err := warm.Copy(t.Context(), to, from, roomy)
	must(t, err)
	if got := stat(t, filepath.Join(to, "sparse")); got.Size != 64<<20 || got.Blocks > 1<<11 || tally.Bytes > 1<<20 {
		t.Errorf("the copy has %d bytes in %d blocks, %d counted; want %d in a few", got.Size, got.Blocks, tally.Bytes, 64<<20)
	}
	data, err := os.ReadFile(filepath.Join(to, "sparse"))
	if err != nil || string(data[8<<20:8<<20+6]) != "middle" {
		t.Errorf("the copy lost its content (%v)", err)
	}
}

func TestACopyEndsAtItsLimitAndWithItsContext(t *testing.T) {
	from := t.TempDir()
	write(t, filepath.Join(from, "file"), strings.Repeat("x", 1<<20))
	if _, err := warm.Copy(t.Context(), t.TempDir(), from, 1<<10); !errors.Is(err, warm.ErrTooLarge) {
		t.Errorf("Copy = %v, want %v", err, warm.ErrTooLarge)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if _, err := warm.Copy(ctx, t.TempDir(), from, roomy); !errors.Is(err, stopped) {
		t.Errorf("Copy = %v, want %v", err, stopped)
	}
}

func TestKeysTellEverythingApart(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a/init.sql"), "1")
	write(t, filepath.Join(dir, "content/init.sql"), "2")
	write(t, filepath.Join(dir, "name/other.sql"), "1")
	write(t, filepath.Join(dir, "more/init.sql"), "1")
	write(t, filepath.Join(dir, "more/zero"), "")
	write(t, filepath.Join(dir, "mode/init.sql"), "1")
	must(t, os.Chmod(filepath.Join(dir, "mode/init.sql"), 0o700))
	write(t, filepath.Join(dir, "same/init.sql"), "1")
	must(t, os.Chtimes(filepath.Join(dir, "same/init.sql"), time.Unix(1, 0), time.Unix(1, 0)), os.Symlink("a", filepath.Join(dir, "link")))
	key := func(folder string) string {
		k := warm.NewKey()
		k.Add("env", map[string]string{"A": "B"})
		must(t, k.AddFiles(t.Context(), "mount", filepath.Join(dir, folder)))
		return k.String()
	}
	for _, folder := range []string{"content", "name", "more", "mode"} {
		if key(folder) == key("a") {
			t.Errorf("another %s makes the same key", folder)
		}
	}
	for _, folder := range []string{"same", "link"} {
		if key(folder) != key("a") {
			t.Errorf("%s makes another key", folder)
		}
	}
	one, two := warm.NewKey(), warm.NewKey()
	one.Add("a", "b")
	two.Add("ab", "")
	if one.String() == two.String() {
		t.Error("a name and its value run into each other")
	}
	if err := warm.NewKey().AddFiles(t.Context(), "mount", filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("AddFiles of nothing = %v, want that it does not exist", err)
	}
}

package tidy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

// closed makes a directory with something in it that lost its write permission.
func closed(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "pkg", "module"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"pkg/module", "pkg"} {
		if err := os.Chmod(filepath.Join(dir, at), 0o555); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTreesThatAreClosedToWritingGo(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	closed(t, filepath.Join(dir, "a"))
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tidy.Empty(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "mine")); err != nil {
		t.Errorf("behind the link: %v", err)
	}
	closed(t, dir)
	if err := tidy.Remove(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := errors.Join(tidy.Remove(t.Context(), dir), tidy.Empty(t.Context(), dir)); err != nil {
		t.Errorf("what is not there: %v", err)
	}
}

func TestALargeTreeGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	deep := filepath.Join(dir, strings.Repeat("d/", 50))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 1500 { // more than are read at once
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := tidy.Remove(t.Context(), dir+"/"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree is still there: %v", err)
	}
}

// alive is a context that ends after it was asked a number of times.
type alive struct {
	context.Context
	left int
}

func (a *alive) Err() error {
	if a.left--; a.left < 0 {
		return context.Canceled
	}
	return nil
}

// A tree may be larger than there is time for.
func TestRemovingEndsWithItsContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	for i := range 100 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stop := errors.New("no time is left")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	for _, remove := range []func(context.Context, string) error{tidy.Remove, tidy.Empty} {
		if err := remove(&alive{ended, 11}, dir); !errors.Is(err, stop) || !strings.Contains(err.Error(), dir) {
			t.Errorf("it ended with %v, want the cause and the directory", err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) < 75 || len(left) > 85 {
		t.Errorf("%d entries are left of 100 (%v), want those for which there was no time", len(left), err)
	}
	if err := tidy.Remove(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

func TestOnlyAnEntryOfADirectoryIsRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("mine", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"": "", ".": "no entry", "..": "no entry", "/": "no entry"} {
		err := tidy.Remove(t.Context(), path)
		if got := fmt.Sprint(err); (err != nil) != (want != "") || !strings.Contains(got, want) {
			t.Errorf("Remove(%q) = %v, want %q", path, err, want)
		}
	}
	if _, err := os.Stat("mine"); err != nil {
		t.Error(err)
	}
}

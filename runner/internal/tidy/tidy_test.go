package tidy_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	if err := tidy.Empty(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "mine")); err != nil {
		t.Errorf("behind the link: %v", err)
	}
	closed(t, dir)
	if err := tidy.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := errors.Join(tidy.Remove(dir), tidy.Empty(dir)); err != nil {
		t.Errorf("what is not there: %v", err)
	}
}

package jobcache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAnEntryGetsItsNameWithoutHardLinks(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "entry")
	refuses := func(err error) func(string, string) error {
		return func(from, to string) error { return &os.LinkError{Op: "link", Old: from, New: to, Err: err} }
	}
	made := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := place(made("zero"), to, refuses(syscall.EIO)); !errors.Is(err, syscall.EIO) {
		t.Errorf("place = %v, want what is wrong with the disk", err)
	}
	if err := place(made("one"), to, refuses(syscall.EPERM)); err != nil {
		t.Fatal(err)
	}
	if err := place(made("two"), to, refuses(syscall.EOPNOTSUPP)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("place = %v, want that the name is taken", err)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "one" {
		t.Errorf("the entry is %q, %v; want the first one", text, err)
	}
	// When the file itself cannot be moved, the name is free again.
	if err := place(filepath.Join(dir, "gone"), to+"2", refuses(syscall.EPERM)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("place = %v", err)
	}
	if _, err := os.Stat(to + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

package wholefile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsReplacedWithItsMode(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "elsewhere")
	file := filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(target, []byte("kept"), 0o600), os.Symlink(target, file)); err != nil {
		t.Fatal(err)
	}
	if err := Write(file, 0o646, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); string(text) != "new" || err != nil {
		t.Errorf("file = %q, %v, want the new text", text, err)
	}
	if info, err := os.Lstat(file); err != nil || info.Mode() != 0o646 {
		t.Errorf("mode = %v, %v, want -rw-r--rw-, a file of its own", info.Mode(), err)
	}
	if text, err := os.ReadFile(target); string(text) != "kept" || err != nil {
		t.Errorf("what the link led to = %q, %v, want it untouched", text, err)
	}
}

func TestWhatFailsLeavesTheOldFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := Write(file, 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := WriteFrom(file, 0o600, func(w io.Writer) error {
		_, err := w.Write([]byte("half"))
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("WriteFrom() = %v, want what the content failed with", err)
	}
	folder := filepath.Join(dir, "folder")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(filepath.Join(folder, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Write(folder, 0o600, nil); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if err := Write(filepath.Join(dir, "missing", "file"), 0o600, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Write() in a missing folder = %v, want that it does not exist", err)
	}
	if text, err := os.ReadFile(file); string(text) != "old" || err != nil {
		t.Errorf("file = %q, %v, want the old text", text, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, Unfinished+"*")); len(left) != 0 || err != nil {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

package jobcache

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

// FuzzEntry reads entries that somebody else wrote into the shared directory.
func FuzzEntry(f *testing.F) {
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		f.Fatal(err)
	}
	made, err := os.Create(filepath.Join(f.TempDir(), "entry"))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := write(f.Context(), made, Key{"a", "b"}, dir, 1<<20, os.Open); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(made.Name())
	if err != nil {
		f.Fatal(err)
	}
	_ = made.Close()
	f.Add(whole[:headerSize], whole[headerSize:])
	f.Add(bytes.Repeat([]byte{' '}, headerSize), []byte{})
	f.Add([]byte(`{"key":["a"],"size":-1}`), []byte("x"))
	f.Fuzz(func(t *testing.T, head, content []byte) {
		shelf := Dir{Path: t.TempDir(), Size: 1 << 30}
		file := shelf.file("s", Key{"a", "b"})
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if len(head) < headerSize {
			head = append(head, bytes.Repeat([]byte{' '}, headerSize-len(head))...)
		}
		if err := os.WriteFile(file, append(head[:headerSize:headerSize], content...), 0o600); err != nil {
			t.Fatal(err)
		}
		c := &Cache{Dir: shelf, Say: func(string) {}, Warn: func(string) {}}
		to := filepath.Join(t.TempDir(), "to")
		if _, err := c.Restore(t.Context(), Key{"a", "b"}, []Key{{"a"}}, []Scope{"s"}, to); err != nil {
			t.Error(err)
		}
		if err := tidy.Remove(t.Context(), to); err != nil {
			t.Error(err)
		}
	})
}

package imagebuild

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A caller that may read more than the one it builds for says how files are opened.
func TestFilesOfABuildAreOpenedAsItsRequestSays(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"open", "closed"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opened := func(path string) (*os.File, error) {
		if filepath.Base(path) == "closed" {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
		}
		return os.Open(path)
	}
	context, err := (&solver{r: &Request{Open: opened}}).localFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := context.Open("closed"); !errors.Is(err, fs.ErrPermission) || f != nil {
		t.Errorf("Open of a closed file of the context = %v, %v, want a refusal", f, err)
	}
	f, err := context.Open("open")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(f); err != nil || string(text) != "open" {
		t.Errorf("the file of the context = %q, %v, want its text", text, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

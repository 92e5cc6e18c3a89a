package imagebuild

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPartsOfABuildThatWasKilledAreRemovedByTheNext(t *testing.T) {
	in, elsewhere := t.TempDir(), t.TempDir()
	old := time.Now().Add(-time.Hour)
	left := filepath.Join(in, ".dockless-parts-left")
	fresh := filepath.Join(in, ".dockless-parts-fresh")
	link := filepath.Join(in, ".dockless-parts-link")
	for _, dir := range []string{left, fresh} {
		if err := os.MkdirAll(filepath.Join(dir, "0", "layout"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	used, err := makePartsDir(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{left, used.path} {
		if err := os.Chtimes(dir, old, old); err != nil {
			t.Fatal(err)
		}
	}
	second, err := makePartsDir(in)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{left: false, fresh: true, used.path: true, second.path: true, elsewhere: true, link: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", path, err == nil, want)
		}
	}
	for _, d := range []*partsDir{used, second} {
		if err := d.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(d.path); err == nil {
			t.Errorf("%s is there after its build", d.path)
		}
	}
}

package podmanrun

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tarOf is an archive of entries.
func tarOf(t testing.TB, entries ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		content := ""
		if e.Typeflag == tar.TypeReg {
			content, e.Size = e.Name, int64(len(e.Name))
		}
		if e.Mode == 0 {
			e.Mode = 0o644
		}
		if err := w.WriteHeader(&e); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestHardLinksGoWhereWhatTheyAreOfGoes(t *testing.T) {
	for name, c := range map[string]struct {
		name    string
		content bool
		want    map[string]string
	}{
		"under its own name": {"", false, map[string]string{"d": "dir", "d/a": "d/a", "d/sub": "dir", "d/sub/b": "d/a"}},
		"renamed":            {"e", false, map[string]string{"e": "dir", "e/a": "d/a", "e/sub": "dir", "e/sub/b": "d/a"}},
		"its content":        {"", true, map[string]string{"a": "d/a", "sub": "dir", "sub/b": "d/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			archive := tarOf(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "d/a", Typeflag: tar.TypeReg},
				tar.Header{Name: "d/sub/b", Typeflag: tar.TypeLink, Linkname: "d/a"})
			dir := t.TempDir()
			if err := unpack(archive, dir, c.name, c.content); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, treeOf(t, dir)); diff != "" {
				t.Errorf("unpacked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestACopyIsNamedAfterWhatThePathMeans(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop", "web")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for from, want := range map[string]string{
		"..": "shop", "../.": ".", ".": ".", "./.": ".", "a": "a", "a/": "a", "./a/..": "web", "../web": "web", "/": ".", dir: "web",
	} {
		if got, err := baseOf(from); err != nil || got != want {
			t.Errorf("baseOf(%q) = %q, %v, want %q", from, got, err, want)
		}
	}
}

// treeOf lists what is below dir: files with their content, links with their target.
func treeOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	tree := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			tree[rel] = "-> " + target
			return err
		case d.IsDir():
			tree[rel] = "dir"
			return nil
		}
		content, err := os.ReadFile(path)
		tree[rel] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestACopyIsUnpackedUnderItsName(t *testing.T) {
	dirs := []tar.Header{{Name: "logs/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "logs/a", Typeflag: tar.TypeReg}, {Name: "logs/in/b", Typeflag: tar.TypeReg}, {Name: "logs/l", Typeflag: tar.TypeSymlink, Linkname: "a"}}
	for name, c := range map[string]struct {
		entries []tar.Header
		name    string
		content bool
		want    map[string]string
	}{
		"a file":                {[]tar.Header{{Name: "a", Typeflag: tar.TypeReg}}, "", false, map[string]string{"a": "a"}},
		"a file, renamed":       {[]tar.Header{{Name: "a", Typeflag: tar.TypeReg}}, "b", false, map[string]string{"b": "a"}},
		"a directory":           {dirs, "", false, map[string]string{"logs": "dir", "logs/a": "logs/a", "logs/in": "dir", "logs/in/b": "logs/in/b", "logs/l": "-> a"}},
		"a directory, renamed":  {dirs, "new", false, map[string]string{"new": "dir", "new/a": "logs/a", "new/in": "dir", "new/in/b": "logs/in/b", "new/l": "-> a"}},
		"a directory's content": {dirs, "", true, map[string]string{"a": "logs/a", "in": "dir", "in/b": "logs/in/b", "l": "-> a"}},
		"content in a new one":  {dirs, "new", true, map[string]string{"new": "dir", "new/a": "logs/a", "new/in": "dir", "new/in/b": "logs/in/b", "new/l": "-> a"}},
		"a device":              {[]tar.Header{{Name: "tty", Typeflag: tar.TypeChar}}, "", false, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unpack(tarOf(t, c.entries...), dir, c.name, c.content); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, treeOf(t, dir)); diff != "" {
				t.Errorf("the copy differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingOfAContainerGetsOutOfTheDirectoryItIsCopiedTo(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"a name that goes up":  {{Name: "../../stolen", Typeflag: tar.TypeReg}},
		"an absolute name":     {{Name: "/stolen", Typeflag: tar.TypeReg}},
		"a link that leads up": {{Name: "d", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "d/stolen", Typeflag: tar.TypeReg}},
		"a link to a file":     {{Name: "f", Typeflag: tar.TypeSymlink, Linkname: "../keep"}, {Name: "f", Typeflag: tar.TypeReg}},
		"a hard link":          {{Name: "f", Typeflag: tar.TypeLink, Linkname: "../keep"}},
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			dir := filepath.Join(outside, "dir")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(outside, "keep"), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := unpack(tarOf(t, entries...), dir, "", false)
			got := treeOf(t, outside)
			if got["keep"] != "mine" || got["stolen"] != "" {
				t.Errorf("unpack = %v; outside there is %v", err, got)
			}
		})
	}
}

func TestWhatIsPackedIsUnpackedTheSame(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"a": "1", "sub/b": "2"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(from, "l")); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := pack(&archive, from, "."); err != nil {
		t.Fatal(err)
	}
	if err := unpack(&archive, to, "", false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(treeOf(t, from), treeOf(t, to)); diff != "" {
		t.Errorf("the copy differs (-want +got):\n%s", diff)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, tar.Header{Name: "../a", Typeflag: tar.TypeReg}).Bytes(), "n", false)
	f.Add(tarOf(f, tar.Header{Name: "d", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "d/x", Typeflag: tar.TypeReg}).Bytes(), "", true)
	f.Add([]byte("no archive"), "", false)
	f.Fuzz(func(t *testing.T, data []byte, name string, content bool) {
		if name != "" && !filepath.IsLocal(name) {
			return
		}
		outside := t.TempDir()
		dir := filepath.Join(outside, "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = unpack(bytes.NewReader(data), dir, filepath.Base(name+"x"), content)
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Errorf("outside there is %v, %v", entries, err)
		}
	})
}

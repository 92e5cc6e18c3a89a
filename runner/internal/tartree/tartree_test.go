package tartree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/tartree"
	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// facts describes what is below a directory.
func facts(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil || name == "." {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			out[name] = text + " → " + target
			return err
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(content)
		}
		out[name] = text + " " + info.ModTime().UTC().Format(time.RFC3339Nano)
		return nil
	}))
	return out
}

func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a/program"), "#!", 0o755)
	write(t, filepath.Join(dir, "a/secret"), "s", 0o600)
	write(t, filepath.Join(dir, "closed/module"), "m", 0o444)
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	must(t, os.Symlink("../a/program", filepath.Join(dir, "closed/link")))
	must(t, os.Symlink("/usr/bin/env", filepath.Join(dir, "abroad")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "broken")))
	must(t, os.Link(filepath.Join(dir, "a/secret"), filepath.Join(dir, "z-second-name")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	at := time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)
	for _, name := range []string{"a/program", "a", "closed/module", "closed"} {
		must(t, os.Chtimes(filepath.Join(dir, name), at, at))
	}
	must(t, os.Chmod(filepath.Join(dir, "closed"), 0o555))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "closed"), 0o755) })
	return dir
}

func TestATreeComesBackAsItWas(t *testing.T) {
	from, to := tree(t), filepath.Join(t.TempDir(), "new", "place")
	var archive bytes.Buffer
	stats, err := tartree.Pack(t.Context(), &archive, from, tartree.Options{})
	must(t, err)
	if stats.Files != 7 || stats.Bytes != 4 {
		t.Errorf("packed %+v, want 7 files with 4 bytes: a second name costs nothing", stats)
	}
	must(t, tartree.Unpack(t.Context(), bytes.NewReader(archive.Bytes()), to, tartree.Limits{}))
	want := facts(t, from)
	delete(want, "pipe")
	if diff := cmp.Diff(want, facts(t, to)); diff != "" {
		t.Errorf("the tree (-packed +unpacked):\n%s", diff)
	}
	one, _ := os.Stat(filepath.Join(to, "a/secret"))
	other, _ := os.Stat(filepath.Join(to, "z-second-name"))
	if !os.SameFile(one, other) {
		t.Error("two names of one file became two files")
	}
	// Once more over itself, and then away with it.
	must(t, os.Chmod(filepath.Join(to, "closed"), 0o755))
	must(t, tartree.Unpack(t.Context(), bytes.NewReader(archive.Bytes()), to, tartree.Limits{}))
	if diff := cmp.Diff(want, facts(t, to)); diff != "" {
		t.Errorf("unpacked over itself (-packed +unpacked):\n%s", diff)
	}
	must(t, tidy.Remove(t.Context(), to))
}

func TestAFileIsPackedUnderItsName(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "one"), "1", 0o644)
	var archive bytes.Buffer
	_, err := tartree.Pack(t.Context(), &archive, filepath.Join(dir, "one"), tartree.Options{})
	must(t, err)
	to := t.TempDir()
	must(t, tartree.Unpack(t.Context(), &archive, to, tartree.Limits{}))
	if text, err := os.ReadFile(filepath.Join(to, "one")); err != nil || string(text) != "1" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

func TestAFileThatMayNotBeReadFailsTheWhole(t *testing.T) {
	_, err := tartree.Pack(t.Context(), io.Discard, tree(t), tartree.Options{Open: func(path string) (*os.File, error) {
		if filepath.Base(path) == "secret" {
			return nil, fs.ErrPermission
		}
		return os.Open(path)
	}})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Pack = %v, want what opening said", err)
	}
}

// archive makes a tar of anything.
func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range entries {
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "evil"
		}
		h.Size, h.Mode = int64(len(text)), 0o4777
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestNothingIsEverWrittenOutside(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
	}
	for name, entries := range map[string][]tar.Header{
		"up":                        {file("../out")},
		"absolute":                  {file("/out")},
		"up in the middle":          {file("a/../../out")},
		"a directory":               {{Name: "../out/", Typeflag: tar.TypeDir}},
		"hard link to the outside":  {{Name: "x", Linkname: "../victim", Typeflag: tar.TypeLink}},
		"hard link to what was":     {{Name: "x", Linkname: "there", Typeflag: tar.TypeLink}},
		"through a link that was":   {file("leads/out")},
		"a device":                  {{Name: "x", Typeflag: tar.TypeChar}},
		"a pipe":                    {{Name: "x", Typeflag: tar.TypeFifo}},
		"too deep":                  {file(strings.Repeat("a/", 300) + "b")},
		"a file for the directory":  {file(".")},
		"too long":                  {file(strings.Repeat("a", 5000))},
		"a file in a file":          {file("f"), file("f/g")},
		"a file on a directory":     {{Name: "d/", Typeflag: tar.TypeDir}, file("d")},
		"too long a link":           {link("x", strings.Repeat("a", 5000))},
		"a link through one before": {link("l", ".."), link("l/out", "x")},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "in")
			write(t, filepath.Join(dir, "there"), "was", 0o644)
			write(t, filepath.Join(parent, "victim"), "victim", 0o644)
			must(t, os.Symlink("..", filepath.Join(dir, "leads")))
			err := tartree.Unpack(t.Context(), bytes.NewReader(archive(t, entries...)), dir, tartree.Limits{})
			if !errors.Is(err, tartree.ErrArchive) {
				t.Errorf("Unpack = %v, want ErrArchive", err)
			}
			left, _ := os.ReadDir(parent)
			text, _ := os.ReadFile(filepath.Join(parent, "victim"))
			if len(left) != 2 || string(text) != "victim" {
				t.Errorf("beside the directory there is %v, and the victim says %q", left, text)
			}
		})
	}
}

// A link in the tar takes its place after all files: what is written under its name
// before goes away, and nothing goes through it.
func TestLinksComeLast(t *testing.T) {
	dir := t.TempDir()
	body := archive(t, tar.Header{Name: "l", Linkname: "/tmp", Typeflag: tar.TypeSymlink}, tar.Header{Name: "l", Typeflag: tar.TypeReg})
	must(t, tartree.Unpack(t.Context(), bytes.NewReader(body), dir, tartree.Limits{}))
	if target, err := os.Readlink(filepath.Join(dir, "l")); err != nil || target != "/tmp" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}

func TestNobodyGetsSpecialPermissions(t *testing.T) {
	dir := t.TempDir()
	must(t, tartree.Unpack(t.Context(), bytes.NewReader(archive(t, tar.Header{Name: "su", Typeflag: tar.TypeReg})), dir, tartree.Limits{}))
	if info, err := os.Stat(filepath.Join(dir, "su")); err != nil || info.Mode() != 0o777 {
		t.Errorf("the mode is %v, %v; want no set-uid", info.Mode(), err)
	}
}

func TestATarIsBounded(t *testing.T) {
	body := archive(t, tar.Header{Name: "a", Typeflag: tar.TypeReg}, tar.Header{Name: "b", Typeflag: tar.TypeReg})
	for _, l := range []tartree.Limits{{Entries: 1}, {Bytes: 7}} {
		if err := tartree.Unpack(t.Context(), bytes.NewReader(body), t.TempDir(), l); !errors.Is(err, tartree.ErrArchive) {
			t.Errorf("with %+v Unpack = %v, want ErrArchive", l, err)
		}
	}
}

// What is packed can be unpacked: the limits are the same.
func TestATreeThatCouldNotBeUnpackedIsNotPacked(t *testing.T) {
	deep := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(deep, strings.Repeat("a/", 257)), 0o755))
	large := t.TempDir()
	write(t, filepath.Join(large, "sparse"), "", 0o644)
	must(t, os.Truncate(filepath.Join(large, "sparse"), 64<<30+1))
	for name, c := range map[string]struct {
		dir    string
		limits tartree.Limits
	}{
		"too deep":         {dir: deep},
		"too large":        {dir: large},
		"too many entries": {dir: tree(t), limits: tartree.Limits{Entries: 5}},
	} {
		var archive bytes.Buffer
		_, err := tartree.Pack(t.Context(), &archive, c.dir, tartree.Options{Limits: c.limits})
		if !errors.Is(err, tartree.ErrTree) || archive.Len() > 1<<20 {
			t.Errorf("%s: Pack = %v after %d bytes, want ErrTree", name, err, archive.Len())
		}
	}
	whole := tree(t) // with a root, 3 directories, 4 files, 3 links of which one is hard
	for entries, want := range map[int]error{11: nil, 10: tartree.ErrTree} {
		var archive bytes.Buffer
		limits := tartree.Limits{Entries: entries}
		_, err := tartree.Pack(t.Context(), &archive, whole, tartree.Options{Limits: limits})
		if err == nil {
			err = tartree.Unpack(t.Context(), &archive, t.TempDir(), limits)
		}
		if !errors.Is(err, want) {
			t.Errorf("with %d entries: %v, want %v", entries, err, want)
		}
	}
}

func TestBothEndWithTheirContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := tartree.Pack(ctx, io.Discard, tree(t), tartree.Options{}); !errors.Is(err, gone) {
		t.Errorf("Pack = %v", err)
	}
	body := archive(t, tar.Header{Name: "a", Typeflag: tar.TypeReg})
	if err := tartree.Unpack(ctx, bytes.NewReader(body), t.TempDir(), tartree.Limits{}); !errors.Is(err, gone) {
		t.Errorf("Unpack = %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a/b", Typeflag: tar.TypeReg}, tar.Header{Name: "l", Linkname: "a", Typeflag: tar.TypeSymlink}))
	f.Add(archive(f, tar.Header{Name: "../x", Typeflag: tar.TypeReg}))
	f.Add([]byte("no tar at all"))
	f.Fuzz(func(t *testing.T, body []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		_ = tartree.Unpack(t.Context(), bytes.NewReader(body), dir, tartree.Limits{Entries: 100, Bytes: 1 << 20})
		if left, err := os.ReadDir(parent); err != nil || len(left) > 1 {
			t.Errorf("beside the directory there is %v, %v", left, err)
		}
		if err := tidy.Remove(t.Context(), dir); err != nil {
			t.Error(err)
		}
	})
}

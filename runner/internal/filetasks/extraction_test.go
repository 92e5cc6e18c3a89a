package filetasks

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/runner/internal/step"
	"github.com/dockless-ci/dockless/runner/internal/zipread"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is a step that nobody looks at. What these tests need of one is its log;
// whole steps are run by the tests of package runner.
type quiet struct{ step.Step }

func (quiet) Print(string) {}

// extractInto extracts an archive into dir with so much room.
func extractInto(ctx context.Context, dir string, room int64, do func(x *extraction) error) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	x := &extraction{step: quiet{}, root: root, room: room}
	if err = do(x); err == nil {
		err = x.finish()
	}
	if err != nil {
		x.undo()
	}
	return errors.Join(err, root.Close())
}

// left lists what is in dir.
func left(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func zipOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range names {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(make([]byte, 1000))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAnArchiveThatFillsTheDiskLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	data := zipOf(t, "a/b/1", "a/2", "3")
	err := extractInto(t.Context(), dir, 2500, func(x *extraction) error {
		return x.zip(t.Context(), bytes.NewReader(data), int64(len(data)))
	})
	if !errors.Is(err, errRoom) || !strings.Contains(err.Error(), `its entry "3"`) {
		t.Errorf("zip = %v, want errRoom for the third entry", err)
	}
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("%q stayed", names)
	}
}

// Windows makes zips with backslashes, and says that it made them.
func TestNamesOfAnotherSystemArePaths(t *testing.T) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	if _, err := z.CreateHeader(&zip.FileHeader{Name: `d\e\f`, CreatorVersion: systemNTFS << 8}); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err := extractInto(t.Context(), dir, 1, func(x *extraction) error {
		return x.zip(t.Context(), bytes.NewReader(out.Bytes()), int64(out.Len()))
	})
	if _, serr := os.Stat(filepath.Join(dir, "d", "e", "f")); err != nil || serr != nil {
		t.Errorf("zip = %v, then looking for its file: %v", err, serr)
	}
}

func TestTheEntriesOfAnArchiveAreBounded(t *testing.T) {
	err := extractInto(t.Context(), t.TempDir(), 1<<20, func(x *extraction) error {
		x.entries = maxEntries
		_, err := x.entry(t.Context(), "one more", 0, time.Time{})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "more than 1048576 entries") {
		t.Errorf("entry = %v, want a bound", err)
	}
}

// A zip says how large its table of contents is, which is then read.
func TestAHugeTableOfContentsIsNotRead(t *testing.T) {
	const entries = 900_000
	line := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	line[28], line[30] = 1, 40 // a name and an extra field
	table := bytes.Repeat(append(line, make([]byte, 41)...), entries)
	end := fmt.Appendf(nil, "PK\x06\x06%s", make([]byte, 52))
	copy(end[4:], []byte{44})
	put := func(at int, value uint64) {
		for i := range 8 {
			end[at+i] = byte(value >> (8 * i))
		}
	}
	put(24, entries)
	put(32, entries)
	put(40, uint64(len(table)))
	locator := fmt.Appendf(nil, "PK\x06\x07%s", make([]byte, 16))
	for i := range 8 {
		locator[8+i] = byte(uint64(len(table)) >> (8 * i))
	}
	locator[16] = 1
	last := append([]byte("PK\x05\x06"), bytes.Repeat([]byte{0xff}, 16)...)
	copy(last[4:], make([]byte, 4))
	last = append(last, 0, 0)
	data := bytes.Join([][]byte{table, end, locator, last}, nil)
	if _, err := readZip(bytes.NewReader(data), int64(len(data))); !errors.Is(err, zipread.ErrDirectory) {
		t.Errorf("readZip = %v, want ErrDirectory", err)
	}
}

func TestAProgramThatFillsTheDiskIsStopped(t *testing.T) {
	err := watched(t.Context(), func() bool { return true }, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, errRoom) {
		t.Errorf("watched = %v, want errRoom", err)
	}
}

func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// hostileTars try to leave the folder in every way that a tar has.
func hostileTars(t testing.TB) map[string][]byte {
	t.Helper()
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}
	}
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	hard := func(name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}
	}
	return map[string][]byte{
		"by its name":              tarOf(t, file("../evil")),
		"in the middle of a name":  tarOf(t, file("a/../../evil")),
		"through a link":           tarOf(t, link("l", ".."), file("l/evil")),
		"through two links":        tarOf(t, tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755}, link("d/l", ".."), link("m", "d/l/.."), file("m/evil")),
		"through an absolute link": tarOf(t, link("l", os.TempDir()), file("l/evil")),
		"by a directory":           tarOf(t, link("l", ".."), tar.Header{Name: "l/evil", Typeflag: tar.TypeDir, Mode: 0o755}),
		"by a link in a link":      tarOf(t, link("l", ".."), link("l/evil", "x")),
		"by a hard link":           tarOf(t, hard("h", "../outside")),
		"by a hard link of a link": tarOf(t, link("l", ".."), hard("h", "l/outside")),
		"by a device":              tarOf(t, tar.Header{Name: "evil", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}),
	}
}

func TestNoTarLeavesItsFolder(t *testing.T) {
	for name, data := range hostileTars(t) {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			if err := os.WriteFile(filepath.Join(outside, "outside"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(outside, "to")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := untarInto(t.Context(), dir, data)
			if err == nil || !strings.Contains(err.Error(), "its entry ") {
				t.Errorf("tar = %v, want an error that names the entry", err)
			}
			if names := strings.Join(left(t, outside), " "); names != "outside to" {
				t.Errorf("outside there are %s", names)
			}
			if names := left(t, dir); len(names) > 0 {
				t.Errorf("%q stayed", names)
			}
		})
	}
}

func untarInto(ctx context.Context, dir string, data []byte) error {
	return extractInto(ctx, dir, 1<<20, func(x *extraction) error {
		r := tar.NewReader(bytes.NewReader(data))
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = x.tarEntry(ctx, h, r)
			}
			if err != nil {
				return err
			}
		}
	})
}

// FuzzExtract writes whatever comes into a folder of its own and looks for
// something beside it.
func FuzzExtract(f *testing.F) {
	for _, data := range hostileTars(f) {
		f.Add(data, false)
	}
	f.Add(tarOf(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o555}, tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Size: 3}), false)
	f.Add(zipOf(f, "a", "b/c"), true)
	f.Add(zipOf(f, "../evil"), true)
	f.Add(zipOf(f, `..\evil`), true)
	f.Add([]byte("PK\x05\x06"), true)
	f.Fuzz(func(t *testing.T, data []byte, zipped bool) {
		outside := t.TempDir()
		dir := filepath.Join(outside, "to")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if zipped {
			err = extractInto(t.Context(), dir, 1<<20, func(x *extraction) error {
				return x.zip(t.Context(), bytes.NewReader(data), int64(len(data)))
			})
		} else {
			err = untarInto(t.Context(), dir, data)
		}
		if names := left(t, outside); len(names) != 1 {
			t.Errorf("beside the folder there are %q", names)
		}
		if names := left(t, dir); err != nil && len(names) > 0 {
			t.Errorf("%q stayed after %v", names, err)
		}
	})
}

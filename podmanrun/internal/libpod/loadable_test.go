package libpod

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

type file struct{ name, data string }

func archiveOf(tb testing.TB, files ...file) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))})); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write([]byte(f.data)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func filesOf(tb testing.TB, archive []byte) (files []file) {
	tb.Helper()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			tb.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, file{h.Name, string(data)})
	}
}

func TestALayoutIsLeftOutWhereItWouldCostAnImageItsHealthcheck(t *testing.T) {
	layer := file{"blobs/sha256/1", strings.Repeat("x", maxConfig+1)}
	plain, checked := file{"blobs/sha256/2", `{"config":{"Cmd":["sh"]}}`}, file{"blobs/sha256/2", `{"config":{"Healthcheck":{"Test":["CMD","true"]}}}`}
	index, mark, manifest := file{"index.json", "{}"}, file{"oci-layout", "{}"}, file{"manifest.json", "[]"}
	for name, c := range map[string]struct{ files, want []file }{
		"nothing that only Docker has": {[]file{layer, plain, index, manifest, mark}, []file{layer, plain, manifest, index, mark}},
		"a healthcheck":                {[]file{layer, checked, index, manifest, mark}, []file{layer, checked, manifest}},
		"a healthcheck, in any order":  {[]file{mark, index, manifest, checked, layer}, []file{manifest, checked, layer}},
		"a layout and nothing else":    {[]file{layer, checked, index, mark}, []file{layer, checked, index, mark}},
		"Docker's own":                 {[]file{checked, manifest}, []file{checked, manifest}},
	} {
		got, err := io.ReadAll(loadable(bytes.NewReader(archiveOf(t, c.files...))))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if files := filesOf(t, got); !slices.Equal(files, c.want) {
			t.Errorf("%s: the archive has %d files, want %d: %.200v", name, len(files), len(c.want), files)
		}
	}
}

func TestWhatIsNoArchivePassesAndWhatEndsEarlyFails(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("\x1f\x8b gzip", 1000)} {
		if got, err := io.ReadAll(loadable(strings.NewReader(text))); string(got) != text || err != nil {
			t.Errorf("%d bytes became %d bytes, %v", len(text), len(got), err)
		}
	}
	whole := archiveOf(t, file{"blobs/sha256/1", strings.Repeat("x", 4000)})
	broken := errors.New("the build failed")
	for _, rest := range []io.Reader{strings.NewReader(""), iotest.ErrReader(broken)} {
		if _, err := io.ReadAll(loadable(io.MultiReader(bytes.NewReader(whole[:2000]), rest))); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, broken) {
			t.Errorf("half an archive = %v, want an error", err)
		}
	}
	r := loadable(iotest.OneByteReader(bytes.NewReader(whole)))
	if err := r.Close(); err != nil { // nobody reads: its goroutine ends all the same
		t.Fatal(err)
	}
}

// FuzzLoadable holds that what is not left out arrives as it was.
func FuzzLoadable(f *testing.F) {
	f.Add(archiveOf(f, file{"blobs/sha256/1", `{"Shell":["sh"]}`}, file{"index.json", "{}"}, file{"manifest.json", "[]"}, file{"oci-layout", ""}))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := loadable(bytes.NewReader(data))
		defer r.Close()                                  //nolint:errcheck // a pipe
		got, err := io.ReadAll(io.LimitReader(r, 1<<20)) // an entry may claim to have holes of any size
		if len(data) < 512 && (err != nil || !bytes.Equal(got, data)) {
			t.Errorf("%q became %q, %v", data, got, err)
		}
	})
}

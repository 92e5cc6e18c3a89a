package zipread_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/runner/internal/zipread"
)

// archive makes a zip with files of 100 kB.
func archive(t testing.TB, files int) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := range files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("file-%04d", i)})
		if err == nil {
			_, err = io.WriteString(w, strings.Repeat("x", 100_000))
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

func TestOnlyTheTableOfContentsIsBounded(t *testing.T) {
	body := archive(t, 5)
	z, err := zipread.Open(bytes.NewReader(body), int64(len(body)), 8<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		from, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, from); err != nil || n != 100_000 {
			t.Errorf("%s has %d bytes, %v", f.Name, n, err)
		}
		_ = from.Close() // only read from
	}
	if _, err := zipread.Open(bytes.NewReader(body), int64(len(body)), 1<<10); !errors.Is(err, zipread.ErrDirectory) {
		t.Errorf("Open = %v, want ErrDirectory", err)
	}
	if _, err := zipread.Open(strings.NewReader("no zip"), 6, 8<<10); err == nil || errors.Is(err, zipread.ErrDirectory) {
		t.Errorf("Open = %v, want that it is no zip", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(archive(f, 1), int64(1<<20))
	f.Add([]byte("PK\x05\x06"), int64(22))
	f.Fuzz(func(t *testing.T, body []byte, most int64) {
		z, err := zipread.Open(bytes.NewReader(body), int64(len(body)), most)
		if err == nil && int64(46*len(z.File)) > most {
			t.Errorf("%d files from a table of %d bytes", len(z.File), most)
		}
	})
}

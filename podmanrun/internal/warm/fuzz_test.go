package warm

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func FuzzAbout(f *testing.F) {
	for _, seed := range []string{
		`{"service":"db","volumes":["/data"],"files":3,"bytes":10,"cold":5000000000,"made":"2026-01-02T03:04:05Z"}`,
		`{"volumes":["/data"],"files":-1}`, `{"volumes":[]}`, `{"cold":1e99}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := readAbout(data)
		if err == nil && (len(a.Volumes) == 0 || a.Files < 0 || a.Bytes < 0 || a.Cold < 0) {
			t.Errorf("readAbout(%q) = %+v, which makes no sense", data, a)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	file := filepath.Join(f.TempDir(), "packed")
	if _, err := Pack(f.Context(), file, bytes.NewReader(make([]byte, 1024)), 1<<20); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tally, err := Unpack(t.Context(), io.Discard, bytes.NewReader(data)); err == nil && tally.Files < 0 {
			t.Errorf("Unpack = %+v", tally)
		}
	})
}

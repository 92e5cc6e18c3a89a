package taskstore

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The bounds themselves are far apart from what a test can make, so these look
// at each of them with an archive just beyond it.
func TestArchivesMadeToFillADiskAreRefused(t *testing.T) {
	for name, fill := range map[string]func(z *zip.Writer) error{
		"too many files": func(z *zip.Writer) error {
			for i := range maxFiles + 1 {
				if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i)}); err != nil {
					return err
				}
			}
			return nil
		},
		"a table of contents without end": func(z *zip.Writer) error {
			long := make([]byte, 1<<15)
			for i := range long {
				long[i] = 'a'
			}
			for i := range maxDirectory/len(long) + 1 {
				if _, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i), Comment: string(long)}); err != nil {
					return err
				}
			}
			return nil
		},
		"many directories for few bytes": func(z *zip.Writer) error {
			for i := range maxFiles / (maxDepth - 1) {
				if _, err := z.Create(fmt.Sprint(i, "/") + strings.Repeat("a/", maxDepth-1)); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var body bytes.Buffer
			z := zip.NewWriter(&body)
			if err := errors.Join(fill(z), z.Close()); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			archive := filepath.Join(dir, "package.zip")
			if err := os.WriteFile(archive, body.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := unpack(t.Context(), archive, filepath.Join(dir, "content")); !errors.Is(err, errLarge) {
				t.Errorf("unpack = %v, want %v", err, errLarge)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("unpacked before it was refused: %v, %v", left, err)
			}
		})
	}
}

// endless is what a few bytes of a bomb become.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestWhatIsWrittenIsCountedNotWhatIsClaimed(t *testing.T) {
	var written counter
	n, err := copyBounded(&written, endless{}, 1<<20)
	if !errors.Is(err, errLarge) || n > 1<<20+1 || int64(written) != n {
		t.Errorf("copyBounded wrote %d bytes and returned %d, %v; want at most one more than its limit and %v", written, n, err, errLarge)
	}
	if _, err := copyBounded(io.Discard, io.LimitReader(endless{}, 5), 5); err != nil {
		t.Errorf("copying exactly the limit = %v", err)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

package imagelayout

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/internal/wholefile"
)

// Adopt moves the blobs of another layout into l, which it makes. The other one
// is of no use afterwards; its names are not taken over.
func (l Layout) Adopt(other Layout) error {
	from := filepath.Join(other.Dir, "blobs")
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(l.Dir, "blobs", below)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // image content is no secret, and other users load it
			return err
		}
		return move(path, to)
	})
	if err != nil {
		return fmt.Errorf("moving image content to %s: %w", l.Dir, err)
	}
	return nil
}

// move renames a file, or copies it where the directories lie on different file
// systems.
func move(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	err = wholefile.WriteFrom(to, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
	if err != nil {
		return err
	}
	return os.Remove(from)
}

// PutBlob keeps content under its digest.
func (l Layout) PutBlob(d digest.Digest, content []byte) error {
	if got := d.Algorithm().FromBytes(content); got != d {
		return fmt.Errorf("keeping %s: the content is that of %s", d, got)
	}
	to := l.blob(d)
	err := os.MkdirAll(filepath.Dir(to), 0o755) //nolint:gosec // image content is no secret, and other users load it
	if err == nil {
		err = wholefile.Write(to, 0o644, content)
	}
	if err != nil {
		return fmt.Errorf("keeping %s in %s: %w", d, l.Dir, err)
	}
	return nil
}

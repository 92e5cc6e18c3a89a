package warm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// maxInput bounds the bytes of the files that a key is made from: a second's
	// worth, which is what a warm start gains.
	maxInput = 1 << 30
	// maxInputs bounds their number.
	maxInputs = 10_000
)

// ErrTooLarge is the error of what is more than its bound.
var ErrTooLarge = errors.New("too large")

// Key is a hash of everything that a service starts from. The zero value is not
// usable; see [NewKey].
type Key struct {
	sum   hash.Hash
	files int
	bytes int64
}

// NewKey starts a key of the present format.
func NewKey() *Key {
	k := &Key{sum: sha256.New()}
	k.Add("format", Format)
	return k
}

// Add makes value, of a type that JSON can hold, part of the key.
func (k *Key) Add(name string, value any) {
	data, err := json.Marshal([]any{name, value})
	if err != nil {
		panic(fmt.Sprintf("a key of a fixture from a %T: %v", value, err))
	}
	_, _ = fmt.Fprintf(k.sum, "%d\n", len(data)) // a hash takes everything
	k.sum.Write(data)
}

// AddFiles makes a file, or all that is below a directory, part of the key: names,
// kinds, modes and content, but neither times nor owners, which differ between two
// checkouts of one commit. More than 1 GiB or 10,000 files are [ErrTooLarge].
func (k *Key) AddFiles(ctx context.Context, name, path string) error {
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if k.files++; k.files > maxInputs {
			return fmt.Errorf("%s: %w: more than %d files", path, ErrTooLarge, maxInputs)
		}
		return k.addFile(filepath.Join(name, relative), file)
	})
}

func (k *Key) addFile(name, file string) error {
	stat, err := os.Lstat(file)
	if err != nil {
		return err
	}
	k.Add(name, stat.Mode().String())
	switch stat.Mode().Type() {
	case fs.ModeSymlink:
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		k.Add(name, target)
	case 0:
		return k.addContent(name, file)
	}
	return nil // a socket or a device is a way to something, and has no content
}

func (k *Key) addContent(name, file string) error {
	f, err := openPlain(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	content := sha256.New()
	n, err := io.Copy(content, io.LimitReader(f, maxInput-k.bytes+1))
	if err != nil {
		return err
	}
	if k.bytes += n; k.bytes > maxInput {
		return fmt.Errorf("%s: %w: the files are more than %d MiB", file, ErrTooLarge, maxInput>>20)
	}
	k.Add(name, hex.EncodeToString(content.Sum(nil)))
	return nil
}

// String returns the key so far.
func (k *Key) String() string { return hex.EncodeToString(k.sum.Sum(nil)[:20]) }

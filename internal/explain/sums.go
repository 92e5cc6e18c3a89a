package explain

import (
	"context"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/wholefile"
)

// Sums remembers the hashes of files that did not change, so that a large
// context is not read again for every build. A nil or zero Sums remembers
// nothing. It may be used concurrently, also by several processes.
type Sums struct{ Dir string }

// Bounds of what is remembered: contexts, by last use.
const maxContexts = 32

// settled is how old a file's last change must be before its hash is remembered:
// a change within the same tick of the file system's clock would not be seen.
const settled = 2 * time.Second

// fileID says which state of which file a hash is of.
type fileID struct {
	Size, Modified, Changed int64 // nanoseconds
	Inode                   uint64
}

type fileSum struct {
	ID  fileID
	Sum [sha256.Size]byte
}

// knownSums are the hashes of one context's files.
type knownSums struct {
	path  string
	old   map[string]fileSum
	mu    sync.Mutex
	now   map[string]fileSum
	fresh bool // now has something that old has not
}

func (s *Sums) load(dir string) *knownSums {
	k := &knownSums{now: make(map[string]fileSum)}
	if s == nil || s.Dir == "" {
		return k
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return k
	}
	name := sha256.Sum256([]byte(abs))
	k.path = filepath.Join(s.Dir, hex.EncodeToString(name[:16]))
	f, err := os.Open(k.path)
	if err != nil {
		return k
	}
	defer func() { _ = f.Close() }()
	if err := gob.NewDecoder(io.LimitReader(f, maxJSON)).Decode(&k.old); err != nil {
		k.old = nil // a torn or older file knows nothing
	}
	now := time.Now()
	_ = os.Chtimes(k.path, now, now) // the oldest go first; without, this one may
	return k
}

// keep writes down what is known now. A failure costs reading the files again.
func (s *Sums) keep(k *knownSums) {
	if k.path == "" || !k.fresh {
		return
	}
	for name, sum := range k.old { // other builds of the context read other files
		if _, ok := k.now[name]; !ok && len(k.now) < maxFiles {
			k.now[name] = sum
		}
	}
	err := os.MkdirAll(filepath.Dir(k.path), 0o700)
	if err == nil {
		err = wholefile.WriteFrom(k.path, 0o600, func(w io.Writer) error { return gob.NewEncoder(w).Encode(k.now) })
	}
	if err == nil {
		prune(s.Dir, maxContexts, maxStored)
	}
}

// file returns the hash of a file's content.
func (k *knownSums) file(ctx context.Context, name, key string, open func(string) (*os.File, error)) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if old, ok := k.old[key]; ok {
		if info, err := os.Lstat(name); err == nil && idOf(info) == old.ID {
			k.remember(key, old, false)
			return string(old.Sum[:]), nil
		}
	}
	f, err := open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "gone", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, &untilDone{ctx, f}); err != nil {
		return "", err
	}
	sum := fileSum{ID: idOf(info)}
	h.Sum(sum.Sum[:0])
	if time.Since(time.Unix(0, max(sum.ID.Modified, sum.ID.Changed))) > settled {
		k.remember(key, sum, true)
	}
	return string(sum.Sum[:]), nil
}

func (k *knownSums) remember(key string, s fileSum, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now[key], k.fresh = s, k.fresh || fresh
}

func idOf(info fs.FileInfo) fileID {
	id := fileID{Size: info.Size(), Modified: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.Changed, id.Inode = st.Ctim.Nano(), st.Ino
	}
	return id
}

// untilDone reads until its context ends.
type untilDone struct {
	ctx context.Context //nolint:containedctx // lives as long as one io.Copy
	io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

package explain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/wholefile"
)

// Key says which builds are compared with each other.
type Key struct {
	Origin     string // URL of the repository or place of the context; empty is unknown
	Name       string // of the cache repository, else of the image
	Dockerfile string // its path, below the context where it is
	Target     string
	Platforms  string
	Scope      string // the branch's, as buildcache.Policy.Scopes names it
}

func (k Key) id() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{k.Origin, k.Name, k.Dockerfile, k.Target, k.Platforms, k.Scope}, "\x00")))
	return hex.EncodeToString(sum[:])
}

// Store keeps the records of the last good builds: in Dir, or without one in
// memory. Its zero value is ready. It may be used concurrently, in a directory
// also by several processes.
type Store struct {
	Dir string
	mu  sync.Mutex
	mem map[string]*Record
}

// Bounds of the directory and of the memory. A record has kilobytes; one of
// a context of ten thousand files has less than one megabyte.
const (
	maxRecords = 300
	maxStored  = 64 << 20 // bytes
	maxInMind  = 50
)

const recordSuffix = ".record"

// Load returns the record of the last good build, or nil. A file that cannot be
// read as a record is none.
func (s *Store) Load(k Key) *Record {
	if s.Dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.mem[k.id()]
	}
	name := filepath.Join(s.Dir, k.id()+recordSuffix)
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	packed, err := io.ReadAll(io.LimitReader(f, maxPacked+1))
	if cerr := f.Close(); err != nil || cerr != nil {
		return nil
	}
	r, err := Decode(packed)
	if err != nil {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(name, now, now) // the oldest go first; without, this one may
	return r
}

// Save keeps r as the record of the last good build.
func (s *Store) Save(k Key, r *Record) error {
	if s.Dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mem == nil || len(s.mem) >= maxInMind {
			s.mem = make(map[string]*Record)
		}
		s.mem[k.id()] = r
		return nil
	}
	packed, err := r.Encode()
	if err != nil {
		return err
	}
	if err = os.MkdirAll(s.Dir, 0o700); err == nil {
		err = wholefile.Write(filepath.Join(s.Dir, k.id()+recordSuffix), 0o600, packed)
	}
	if err != nil {
		return fmt.Errorf("keeping the build's record: %w", err)
	}
	prune(s.Dir, maxRecords, maxStored)
	return nil
}

// leftAfter is when a file that nobody finished writing is taken for left over.
const leftAfter = time.Hour

// prune removes the least recently used files of dir beyond a number or a size.
func prune(dir string, number int, size int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(info.Name(), wholefile.Unfinished) {
			if time.Since(info.ModTime()) > leftAfter {
				_ = os.Remove(filepath.Join(dir, info.Name()))
			}
			continue
		}
		files = append(files, info)
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var total int64
	for i, f := range files {
		if total += f.Size(); i >= number || total > size {
			_ = os.Remove(filepath.Join(dir, f.Name())) // another process may have
		}
	}
}

package taskstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/plainfile"
)

// The folder that agents share keeps archives by their content, so that one which
// was cut short or changed is noticed before it is unpacked:
//
//	<Shared>/sha256/<digest>            the archive, as it was downloaded
//	<Shared>/tasks/<id>/<version>.json  which archive a version is
//
// The digest does not say whose archive it is: whoever can write the folder can put
// another one there. So those who run jobs only read it, and it is filled by a
// command that runs none. Both files are written under another name first. Two that
// fetch one version at the same time write the same two files; nobody waits.

// maxEntry bounds an entry, in bytes. Ours have about two hundred.
const maxEntry = 4 << 10

// entry says which archive a version of a task is.
type entry struct {
	Name   string `json:"name"` // for people
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s *Store) entryFile(ref job.TaskReference) string {
	return filepath.Join(s.Shared, "tasks", strings.ToLower(ref.ID), ref.Version+".json")
}

func (s *Store) blobFile(digest string) string { return filepath.Join(s.Shared, "sha256", digest) }

// take copies the archive of p from the shared folder to the file at path, and
// reports whether it was there whole. One that is not is told of and left to the
// next download, which replaces it.
func (s *Store) take(ctx context.Context, p place, path string) bool {
	err := s.copyOut(ctx, p.ref, path)
	if err == nil {
		return true
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.Warn(fmt.Sprintf("The shared package of task %s (%s) cannot be used and is downloaded again: %v", p.ref.Name, p.ref.Version, err))
	}
	return false
}

func (s *Store) copyOut(ctx context.Context, ref job.TaskReference, path string) error {
	text, err := plainfile.Read(s.entryFile(ref), maxEntry)
	if err != nil {
		return err
	}
	var e entry
	if err := json.Unmarshal(text, &e); err != nil || !digestForm.MatchString(e.SHA256) {
		return errors.New("its entry cannot be read")
	}
	from, err := plainfile.Open(s.blobFile(e.SHA256))
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	sum := sha256.New()
	// One byte more than it may have: a longer one is not copied to its end.
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(from, e.Bytes+1))
	if err := errors.Join(err, to.Close(), context.Cause(ctx)); err != nil {
		return err
	}
	if n != e.Bytes || hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
		return fmt.Errorf("it is not the archive with the digest sha256:%s", e.SHA256)
	}
	if s.Fill { // whoever clears the folder up by age sees what is wanted
		now := time.Now()
		return os.Chtimes(from.Name(), now, now)
	}
	return nil
}

// copyIn puts the archive at path into the shared folder.
func (s *Store) copyIn(ref job.TaskReference, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	sum := sha256.New()
	n, err := io.Copy(sum, from)
	if err != nil {
		return err
	}
	e := entry{Name: ref.Name, SHA256: hex.EncodeToString(sum.Sum(nil)), Bytes: n}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := replace(s.blobFile(e.SHA256), from); err != nil {
		return err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return replace(s.entryFile(ref), strings.NewReader(string(text)))
}

// replace writes a file that others see whole or not at all.
func replace(path string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // agents of other users read it
		return err
	}
	return plainfile.Replace(filepath.Join(filepath.Dir(path), ".new-"+rand.Text()), path, content, 0o644)
}

// Writable returns a folder of the shared folder dir that this process can write,
// and so its jobs, or "". Who owns a folder can allow himself to, unless the file
// system is mounted read-only; one that is not there can be made in its parent.
func Writable(dir string) (string, error) {
	for _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir); _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	for _, dir := range []string{dir, filepath.Join(dir, "sha256"), filepath.Join(dir, "tasks")} {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		var on syscall.Statfs_t
		if err := syscall.Statfs(dir, &on); err != nil {
			return "", fmt.Errorf("asking how %s is mounted: %w", dir, err)
		}
		const readOnly = 1 // ST_RDONLY
		if on.Flags&readOnly != 0 {
			continue
		}
		own, ok := info.Sys().(*syscall.Stat_t)
		const write = 2 // W_OK
		if ok && int(own.Uid) == os.Geteuid() || syscall.Access(dir, write) == nil {
			return dir, nil
		}
	}
	return "", nil
}

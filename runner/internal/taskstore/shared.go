package taskstore

import (
	"context"
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
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// The folder that agents share keeps archives by their content, so that one which
// was cut short or changed is noticed before it is unpacked:
//
//	<Shared>/sha256/<digest>            the archive, as it was downloaded
//	<Shared>/tasks/<id>/<version>.json  which archive a version is
//
// Both are written under another name first. Two agents that fetch one version at
// the same time write the same two files; nobody waits for anybody.

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
	text, err := os.ReadFile(s.entryFile(ref))
	if err != nil {
		return err
	}
	var e entry
	if err := json.Unmarshal(text, &e); err != nil || !digestForm.MatchString(e.SHA256) {
		return errors.New("its entry cannot be read")
	}
	from, err := os.Open(s.blobFile(e.SHA256))
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
	// Whoever clears the folder up by age sees what is in use. A folder that is
	// mounted read-only has no such times.
	now := time.Now()
	_ = os.Chtimes(from.Name(), now, now)
	return nil
}

// share puts the archive at path into the shared folder. Without that the next
// agent downloads it, too, so a failure is told and no more.
func (s *Store) share(p place, path string) {
	if s.Shared == "" {
		return
	}
	if err := s.copyIn(p.ref, path); err != nil {
		s.Warn(fmt.Sprintf("The package of task %s (%s) was not shared with other agents: %v", p.ref.Name, p.ref.Version, err))
	}
}

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
func replace(path string, content io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // agents of other users read it
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

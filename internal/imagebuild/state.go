package imagebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/dockless-ci/dockless/internal/wholefile"
)

const (
	// stateLock bounds the wait for another process that reads and writes the same
	// few kilobytes, which takes milliseconds.
	stateLock = 2 * time.Second
	// maxState is far above what the bounds of every kind of state add up to; a
	// larger file is not ours.
	maxState = 4 << 20
)

var errStateLocked = fmt.Errorf("another process holds it for %s", stateLock)

// state is a small value that the builds of a machine share, in a JSON file. With
// an empty path, and while the file cannot be used, it is this process's own. It
// may be used concurrently.
type state[T any] struct {
	path string

	mu     sync.Mutex
	memory T // what was read or written last
}

// change lets f read and change the value. Its error says why other processes do
// not see the change; f was called all the same, once.
func (s *state[T]) change(ctx context.Context, f func(*T)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" {
		f(&s.memory)
		return nil
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		f(&s.memory)
		return err
	}
	err = s.load()
	f(&s.memory)
	if err == nil {
		err = s.save()
	}
	return errors.Join(err, unlock())
}

func (s *state[T]) lock(ctx context.Context) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory of builds: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stateLock, errStateLocked)
	defer cancel()
	lock := flock.New(s.path + ".lock")
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("locking %s: %w", s.path, err)
	}
	return lock.Close, nil
}

// load reads the file. One that is not there or holds something else is a fresh
// start: all that is lost is experience.
func (s *state[T]) load() error {
	file, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.memory = *new(T)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what builds have learned: %w", err)
	}
	defer func() { _ = file.Close() }() // read only
	text, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err != nil {
		return fmt.Errorf("reading what builds have learned: %w", err)
	}
	s.memory = decodeState[T](text)
	return nil
}

// decodeState reads the text of a state file, and takes one that it does not
// understand for empty.
func decodeState[T any](text []byte) (v T) {
	if len(text) > maxState || json.Unmarshal(text, &v) != nil {
		return *new(T)
	}
	return v
}

// save replaces the file, so that a process that dies leaves the old one.
func (s *state[T]) save() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keeping what builds have learned: %w", err)
		}
	}()
	text, err := json.Marshal(s.memory)
	if err != nil {
		return err
	}
	return wholefile.Write(s.path, 0o600, text)
}

// Package sharedstate keeps small values that the builds of a machine share. It knows
// nothing of what they are.
package sharedstate

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
	// lockTimeout bounds the wait for another process that reads and writes the same
	// few kilobytes, which takes milliseconds.
	lockTimeout = 2 * time.Second
	// maxSize is far above what the bounds of every kind of state add up to; a
	// larger file is not ours.
	maxSize = 4 << 20
)

var errLocked = fmt.Errorf("another process holds it for %s", lockTimeout)

// Value is one of them, in a JSON file. With an empty path, and while the file cannot
// be used, it is this process's own. It may be used concurrently.
type Value[T any] struct {
	Path string // set before the first use

	mu     sync.Mutex
	memory T // what was read or written last
}

// Change lets f read and change the value. Its error says why other processes do
// not see the change; f was called all the same, once.
func (v *Value[T]) Change(ctx context.Context, f func(*T)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Path == "" {
		f(&v.memory)
		return nil
	}
	unlock, err := v.lock(ctx)
	if err != nil {
		f(&v.memory)
		return err
	}
	err = v.load()
	f(&v.memory)
	if err == nil {
		err = v.save()
	}
	return errors.Join(err, unlock())
}

func (v *Value[T]) lock(ctx context.Context) (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(v.Path), 0o700); err != nil {
		return nil, fmt.Errorf("making the state directory of builds: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, errLocked)
	defer cancel()
	lock := flock.New(v.Path + ".lock")
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("locking %s: %w", v.Path, err)
	}
	return lock.Close, nil
}

// load reads the file. One that is not there or holds something else is a fresh
// start: all that is lost is experience.
func (v *Value[T]) load() error {
	file, err := os.Open(v.Path)
	if errors.Is(err, fs.ErrNotExist) {
		v.memory = *new(T)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what builds have learned: %w", err)
	}
	defer func() { _ = file.Close() }() // read only
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return fmt.Errorf("reading what builds have learned: %w", err)
	}
	v.memory = decode[T](text)
	return nil
}

// decode reads the text of a state file, and takes one that it does not
// understand for empty.
func decode[T any](text []byte) (v T) {
	if len(text) > maxSize || json.Unmarshal(text, &v) != nil {
		return *new(T)
	}
	return v
}

// save replaces the file, so that a process that dies leaves the old one.
func (v *Value[T]) save() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keeping what builds have learned: %w", err)
		}
	}()
	text, err := json.Marshal(v.memory)
	if err != nil {
		return err
	}
	return wholefile.Write(v.Path, 0o600, text)
}

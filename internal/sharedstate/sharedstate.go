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
	// aloneFor is how long the file is left alone after that. Who holds it for so long
	// is stopped, by a debugger or a freezer, and stays so: all builds together wait
	// for it two seconds in a minute, and what they learn in that minute is lost.
	aloneFor = time.Minute
	// maxSize is far above what the bounds of every kind of state add up to; a
	// larger file is not ours.
	maxSize = 4 << 20
)

var errLocked = fmt.Errorf("another process holds it for %s", lockTimeout)

// Value is one of them, in a JSON file. With an empty path, and while the file cannot
// be used, it is this process's own. It may be used concurrently.
type Value[T any] struct {
	Path string // set before the first use

	once sync.Once     // makes turn
	turn chan struct{} // full while somebody uses what is below; never closed

	memory T         // what was read or written last
	until  time.Time // when the file is tried again
	why    error     // it is not before
}

// Change lets f read and change the value. Its error says why other processes do
// not see the change; f was called all the same, once, unless ctx ended before the
// turn of this change had come.
func (v *Value[T]) Change(ctx context.Context, f func(*T)) error {
	if err := v.take(ctx); err != nil {
		return err
	}
	defer func() { <-v.turn }()
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

// take waits until the changes before this one are made.
func (v *Value[T]) take(ctx context.Context) error {
	v.once.Do(func() { v.turn = make(chan struct{}, 1) })
	select {
	case v.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case v.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for other builds to use %s: %w", v.Path, context.Cause(ctx))
	}
}

func (v *Value[T]) lock(ctx context.Context) (unlock func() error, err error) {
	if time.Now().Before(v.until) {
		return nil, v.why
	}
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
		err = fmt.Errorf("locking %s: %w", v.Path, err)
		if errors.Is(err, errLocked) {
			v.until, v.why = time.Now().Add(aloneFor), err
		}
		return nil, err
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

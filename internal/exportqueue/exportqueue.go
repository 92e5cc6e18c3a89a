// Package exportqueue bounds how many build caches a machine exports to a registry at
// the same time, whatever processes do it.
package exportqueue

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// AtATime is how many caches are exported to one registry at the same time
// from this machine. BuildKit sends up to four layers of each at once, but packs
// them first: with three exports some pack while others send, and more would only
// share the same line and make all of them late.
const AtATime = 3

// slotPoll is how often the slots that other processes hold are looked at. An
// export takes from half a second to minutes.
const slotPoll = 100 * time.Millisecond

// Queue lets a bounded number of exports to a registry go on at the same time:
// those of all processes that have the same directory, and those of this one
// where there is none or it cannot be used: too many exports are late, none at all
// is a build without a cache.
type Queue struct {
	Dir string // DIR/REGISTRY/NUMBER is locked by who has that slot; empty: this process only
	// Alone is told, once, why the slots of other processes are passed over.
	Alone func(context.Context, error)
	told  sync.Once

	mu   sync.Mutex
	here map[string]chan struct{} // by registry, of this process: holds one for each that is taken
}

// Take waits for a slot of a registry, calls waiting once if it has to, and
// returns how to give the slot back. It fails with the cause of ctx.
func (q *Queue) Take(ctx context.Context, registry string, waiting func()) (release func() error, err error) {
	here := q.of(registry)
	var once sync.Once
	select {
	case here <- struct{}{}:
	default:
		once.Do(waiting)
		select {
		case here <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	back := func() error { <-here; return nil }
	if q.Dir == "" {
		return back, nil
	}
	dir := filepath.Join(q.Dir, url.PathEscape(registry))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		q.goAlone(ctx, fmt.Errorf("making the queue of exports: %w", err))
		return back, nil
	}
	for {
		lock, err := lockOne(dir)
		if err != nil {
			q.goAlone(ctx, fmt.Errorf("queueing for an export: %w", err))
			return back, nil
		}
		if lock != nil {
			return func() error { return errors.Join(lock.Close(), back()) }, nil
		}
		once.Do(waiting)
		timer := time.NewTimer(slotPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			_ = back()
			return nil, context.Cause(ctx)
		}
	}
}

func (q *Queue) goAlone(ctx context.Context, err error) {
	if q.Alone != nil {
		q.told.Do(func() { q.Alone(ctx, err) })
	}
}

// of returns the slots of a registry in this process.
func (q *Queue) of(registry string) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.here == nil {
		q.here = make(map[string]chan struct{})
	}
	if q.here[registry] == nil {
		q.here[registry] = make(chan struct{}, AtATime)
	}
	return q.here[registry]
}

// lockOne locks a slot that nobody has, and returns nil when there is none. The
// kernel unlocks those of a process that dies.
func lockOne(dir string) (*flock.Flock, error) {
	var errs []error
	for n := range AtATime {
		lock := flock.New(filepath.Join(dir, strconv.Itoa(n)))
		locked, err := lock.TryLock()
		if locked {
			return lock, nil
		}
		errs = append(errs, err, lock.Close())
	}
	return nil, errors.Join(errs...)
}

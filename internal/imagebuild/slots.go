package imagebuild

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

// exportsAtATime is how many caches are exported to one registry at the same time
// from this machine. BuildKit sends up to four layers of each at once, but packs
// them first: with three exports some pack while others send, and more would only
// share the same line and make all of them late.
const exportsAtATime = 3

// slotPoll is how often the slots that other processes hold are looked at. An
// export takes from half a second to minutes.
const slotPoll = 100 * time.Millisecond

// slots let a bounded number of exports to a registry go on at the same time:
// those of all processes that have the same directory, and those of this one
// where there is none or it cannot be used: too many exports are late, none at all
// is a build without a cache.
type slots struct {
	dir string // DIR/REGISTRY/NUMBER is locked by who has that slot; empty: this process only
	// alone is told, once, why the slots of other processes are passed over.
	alone func(context.Context, error)
	told  sync.Once

	mu   sync.Mutex
	here map[string]chan struct{} // by registry, of this process: holds one for each that is taken
}

// take waits for a slot of a registry, calls waiting once if it has to, and
// returns how to give the slot back. It fails with the cause of ctx.
func (s *slots) take(ctx context.Context, registry string, waiting func()) (release func() error, err error) {
	here := s.of(registry)
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
	if s.dir == "" {
		return back, nil
	}
	dir := filepath.Join(s.dir, url.PathEscape(registry))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.goAlone(ctx, fmt.Errorf("making the queue of exports: %w", err))
		return back, nil
	}
	for {
		lock, err := lockOne(dir)
		if err != nil {
			s.goAlone(ctx, fmt.Errorf("queueing for an export: %w", err))
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

func (s *slots) goAlone(ctx context.Context, err error) {
	if s.alone != nil {
		s.told.Do(func() { s.alone(ctx, err) })
	}
}

// of returns the slots of a registry in this process.
func (s *slots) of(registry string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.here == nil {
		s.here = make(map[string]chan struct{})
	}
	if s.here[registry] == nil {
		s.here[registry] = make(chan struct{}, exportsAtATime)
	}
	return s.here[registry]
}

// lockOne locks a slot that nobody has, and returns nil when there is none. The
// kernel unlocks those of a process that dies.
func lockOne(dir string) (*flock.Flock, error) {
	var errs []error
	for n := range exportsAtATime {
		lock := flock.New(filepath.Join(dir, strconv.Itoa(n)))
		locked, err := lock.TryLock()
		if locked {
			return lock, nil
		}
		errs = append(errs, err, lock.Close())
	}
	return nil, errors.Join(errs...)
}

package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/exportqueue"
)

const (
	// maxBackground is how many exports may outlive their builds at the same time.
	// Each holds a connection to buildkitd and about a megabyte; a build beyond
	// them waits for its own.
	maxBackground = 8
	// closeGrace is how long an export may take to end once it was told to. A
	// client of BuildKit waits five seconds for the last words of a solve.
	closeGrace = 10 * time.Second
)

// exports are the cache exports of a [Builder] and what they learn. It is safe
// for concurrent use.
type exports struct {
	queue  exportqueue.Queue
	forms  *forms
	ledger *ledger
	untold sync.Once // the warning that state cannot be kept

	mu      sync.Mutex
	running map[*export]struct{} // that nobody waits for
	closed  bool
}

func newExports(dir string) *exports {
	e := &exports{forms: &forms{}, ledger: &ledger{}}
	if dir != "" {
		e.queue.Dir = filepath.Join(dir, "exports")
		e.forms.Path = filepath.Join(dir, "registries.json")
		e.ledger.Path = filepath.Join(dir, "cache-exports.json")
	}
	return e
}

// keep takes over an export that a build does not wait for any more, and reports
// whether it did: there may be too many, or nobody to wait for it.
func (e *exports) keep(x *export) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || x.over || len(e.running) >= maxBackground {
		return false
	}
	if e.running == nil {
		e.running = make(map[*export]struct{})
	}
	e.running[x] = struct{}{}
	return true
}

// ended forgets an export.
func (e *exports) ended(x *export) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x.over = true
	delete(e.running, x)
}

// close waits for the exports that run, until ctx ends them.
func (e *exports) close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	running := make([]*export, 0, len(e.running))
	for x := range e.running {
		running = append(running, x)
	}
	e.mu.Unlock()
	var errs []error
	for _, x := range running {
		select {
		case <-x.done:
			continue
		case <-ctx.Done():
		}
		// Those that ended at the same time are done, not cut short.
		select {
		case <-x.done:
		default:
			errs = append(errs, fmt.Errorf("exporting the cache to %s: cut short: %w", x.out.Ref, context.Cause(ctx)))
			x.cancel(context.Cause(ctx))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	for _, x := range running {
		select {
		case <-x.done:
		case <-timer.C:
			return errors.Join(append(errs, fmt.Errorf("the exports did not end within %s", closeGrace))...)
		}
	}
	return errors.Join(errs...)
}

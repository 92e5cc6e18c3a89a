package buildxsetup

import (
	"context"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

// watchEvery is how often the disk is looked at while a build runs: at 2 GB/s, a
// fifth of a gigabyte is written in between. A look takes microseconds.
const watchEvery = 100 * time.Millisecond

// Watch returns a context for a build on n that ends, with a [*FullError] as its
// cause, before the build has filled the disk, where that can be seen. The caller
// calls stop when the build has ended.
//
// A disk without a free byte is worse than a failed build: BuildKit removes
// records by writing to its database, so on such a disk nothing can be removed
// any more.
func (g *Gate) Watch(ctx context.Context, n Node) (_ context.Context, stop func()) {
	root, err := n.root(ctx)
	if err != nil {
		return ctx, func() {}
	}
	return g.watch(ctx, n, root)
}

// watch is [Gate.Watch] for a node whose root is known.
func (g *Gate) watch(ctx context.Context, n Node, root string) (_ context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	begun, before, lowest := time.Now(), int64(-1), int64(-1)
	look := func() (buildkitconf.Volume, bool) {
		v, err := buildkitconf.StatVolume(root)
		if err != nil {
			return v, false // its buildkitd has gone, as the build will find
		}
		if before < 0 {
			before, lowest = v.Free, v.Free
		}
		lowest = min(lowest, v.Free)
		return v, true
	}
	look()
	go func() {
		defer close(done)
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-ticker.C:
			}
			v, ok := look()
			if !ok {
				return
			}
			if v.Free < g.least(v)/2 {
				// At once, while records can still be removed: who uses the disk is asked
				// when there is room again.
				cancel(g.advised(g.full(n, v)))
				return
			}
		}
	}()
	return watched, sync.OnceFunc(func() {
		cancel(nil)
		<-done
		look()
		d := g.disk(n)
		d.setBarren(time.Time{}) // what the build left is removable
		if d.learn(before-lowest, begun, time.Now()) {
			g.beside(ctx, func(context.Context) { g.keep(n, d) })
		}
	})
}

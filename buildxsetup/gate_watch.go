package buildxsetup

import (
	"context"
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
	watched, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
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
			v, err := buildkitconf.StatVolume(root)
			if err != nil {
				return // its buildkitd has gone, as the build will find
			}
			if v.Free < g.least(v)/2 {
				cancel(g.full(ctx, n, v))
				return
			}
		}
	}()
	return watched, func() {
		cancel(nil)
		<-done
	}
}

package podmanrun

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// future is a value that one goroutine makes and several wait for.
type future[T any] struct {
	done  chan struct{} // closed by the maker
	value T
	err   error
}

// newFuture runs produce in g. Its error goes to those who wait, not to g: they
// know for whom the value was.
func newFuture[T any](g *errgroup.Group, produce func() (T, error)) *future[T] {
	f := &future[T]{done: make(chan struct{})}
	g.Go(func() error {
		defer close(f.done)
		f.value, f.err = produce()
		return nil
	})
	return f
}

// wait returns the value, or the cause of ctx if that ends first.
func (f *future[T]) wait(ctx context.Context) (T, error) {
	if err := reached(ctx, f.done); err != nil {
		var none T
		return none, err
	}
	return f.value, f.err
}

// reached waits for a milestone, which closes.
func reached(ctx context.Context, milestone <-chan struct{}) error {
	select {
	case <-milestone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// passed reports whether a milestone has been reached.
func passed(milestone <-chan struct{}) bool {
	select {
	case <-milestone:
		return true
	default:
		return false
	}
}

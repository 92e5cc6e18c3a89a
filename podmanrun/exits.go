package podmanrun

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

const (
	// rareLook is how often a container is looked at while Podman's events tell of
	// its end: they do not when Podman's clean-up after it cannot run.
	rareLook = 2 * time.Second
	// soonLook is how often while there are no events. A look costs Podman 5 ms.
	soonLook = 500 * time.Millisecond
	// firstLook comes after the start while Podman's events tell of ends: an end
	// before them is rare, and the look costs those that start at that moment.
	firstLook = 200 * time.Millisecond
	// endLook lies between the event and the state that it is about.
	endLook = 20 * time.Millisecond
	// listenAgain is the pause before a broken stream of events is asked for again.
	listenAgain = time.Second
)

// exits knows when containers of a project have ended. Its methods may be called
// concurrently.
type exits struct {
	client    *libpod.Client
	listening atomic.Bool

	mu   sync.Mutex
	told map[string]chan struct{} // by container; closed when its end was told
}

func newExits(client *libpod.Client) *exits {
	return &exits{client: client, told: make(map[string]chan struct{})}
}

// listen follows the ends of containers with labels until ctx ends. Without
// events, because Podman keeps none or the stream broke, wait looks more often.
func (e *exits) listen(ctx context.Context, labels map[string]string) {
	for {
		err := e.client.Deaths(ctx, labels, func() { e.listening.Store(true) }, func(d libpod.Death) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if c := e.told[d.Container]; c != nil {
				close(c)
				delete(e.told, d.Container)
			}
		})
		e.listening.Store(false)
		if err == nil {
			return
		}
		if retry.Wait(ctx, listenAgain) != nil {
			return
		}
	}
}

// next returns what is closed when the end of a container is told.
func (e *exits) next(id string) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.told[id] == nil {
		e.told[id] = make(chan struct{})
	}
	return e.told[id]
}

// wait blocks until the container has ended, and returns how. It returns the
// cause of ctx when that ends first, and a [*StatusError] with code 404 when
// somebody has removed the container.
func (e *exits) wait(ctx context.Context, id string) (*libpod.Container, error) {
	told, pause := e.next(id), time.Duration(0)
	if e.listening.Load() {
		pause = firstLook
	}
	for {
		if err := rest(ctx, told, pause); err != nil {
			return nil, err
		}
		told = e.next(id) // before the look, which an end may follow at once
		answer, err := e.client.InspectContainer(ctx, id)
		if err != nil {
			return nil, err
		}
		if libpod.Ended(answer.State.Status) {
			return answer, nil
		}
		pause = soonLook
		if e.listening.Load() {
			pause = rareLook
		}
	}
}

// rest waits until an end is told, but no longer than pause.
func rest(ctx context.Context, told <-chan struct{}, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-told:
		return retry.Wait(ctx, endLook)
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

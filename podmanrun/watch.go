package podmanrun

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// watchAgain is the pause after a failed look at a container that is watched: a Podman
// that is restarted is back within seconds.
const watchAgain = time.Second

// Watch goes on checking the services at their own intervals, so that their
// health stays true while the stack is used, and tells changed when one turns
// healthy or unhealthy or ends. It returns when ctx ends, or earlier when no
// service is left to watch. A container that Podman does not answer for is looked
// at again until it does, which a warning tells once. Calls of changed never overlap.
func (s *Stack) Watch(ctx context.Context, changed func(Event)) {
	var mu sync.Mutex
	tell := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		changed(e)
	}
	watched := newExits(s.client.api)
	listenCtx, stopListening := context.WithCancel(ctx)
	var listener sync.WaitGroup
	defer listener.Wait()
	defer stopListening()
	listener.Go(func() { watched.listen(listenCtx, map[string]string{LabelProject: s.project}) })
	var all sync.WaitGroup
	for service, list := range s.containers {
		for i, c := range list {
			if c.State.Running {
				all.Go(func() { s.watch(ctx, watched, c, s.teller(service, i, tell)) })
			}
		}
	}
	all.Wait()
}

// teller tells what happened to one of the containers of a service.
func (s *Stack) teller(service string, i int, tell func(Event)) func(EventKind, string) {
	about := Event{Service: service}
	if len(s.containers[service]) > 1 {
		about.Replica = i + 1
	}
	return func(kind EventKind, text string) {
		e := about
		e.Kind, e.Text = kind, text
		tell(e)
	}
}

// lastEnd waits until a container has ended for good.
func (s *Stack) lastEnd(ctx context.Context, watched *exits, id string) (*libpod.Container, error) {
	for {
		answer, err := watched.wait(ctx, id)
		if err != nil || !answer.StartsAgain() {
			return answer, err
		}
		again, err := s.client.startedSince(ctx, id, answer.State.StartedAt)
		if err != nil || !again {
			return answer, err
		}
	}
}

// watch follows one container until it ends or ctx does, and tells what happens to it.
func (s *Stack) watch(ctx context.Context, watched *exits, c *libpod.Container, happened func(EventKind, string)) {
	trouble := onTrouble(happened)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel()
		answer, err := insist(ctx, trouble, func(ctx context.Context) (*libpod.Container, error) { return s.lastEnd(ctx, watched, c.ID) })
		if err == nil {
			happened(EventExited, strconv.Itoa(answer.State.ExitCode))
		}
	})
	if h := checkFrom(c.Config.Labels); h != nil {
		both.Go(func() {
			check := func(ctx context.Context) (bool, error) {
				healthy, err := insist(ctx, trouble, func(ctx context.Context) (bool, error) {
					healthy, _, err := s.client.api.CheckContainer(ctx, c.ID, c.Name, h.Timeout)
					return healthy, err
				})
				if c.HostConfig.RestartPolicy.Name != "" && doesNotRun(err) {
					return false, nil // it may be between two starts; its end is told by the other goroutine
				}
				return healthy, err
			}
			// It ends with an error when the container has, which the other goroutine tells.
			_ = h.keepChecking(ctx, true, check, func(healthy bool) {
				kind := EventUnhealthy
				if healthy {
					kind = EventHealthy
				}
				happened(kind, "")
			})
		})
	}
	both.Wait()
}

// onTrouble returns what tells the first failed look at a container as a warning.
func onTrouble(happened func(EventKind, string)) func(error) {
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			happened(EventWarning, fmt.Sprintf("it is looked at again and again until Podman answers: %v", err))
		})
	}
}

// insist repeats a look at a container until it succeeds, the container does not run
// any more or is gone, or ctx ends; trouble is told what failed.
func insist[T any](ctx context.Context, trouble func(error), look func(context.Context) (T, error)) (T, error) {
	for {
		answer, err := look(ctx)
		if err == nil || gone(err) || ctx.Err() != nil {
			return answer, err
		}
		trouble(err)
		if err := retry.Wait(ctx, watchAgain); err != nil {
			return answer, err
		}
	}
}

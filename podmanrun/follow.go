package podmanrun

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// drainTimeout is how long the logs of containers that have all ended may still be
// delivered: Podman reads 57 000 lines a second, all of a log for its last lines.
const drainTimeout = time.Minute

// FollowOptions say what [Stack.Follow] tells.
type FollowOptions struct {
	Quiet   []string                   // services whose lines are left out
	Line    func(service, line string) // takes lines, one at a time
	Changed func(Event)                // told when a service turns healthy or unhealthy, or ends, and when it has no lines; one at a time
}

// Follow tells what the containers of the stack write, of those that were there
// before from now on, and what becomes of them. Meanwhile their health is kept
// up to date. It returns nil when all have ended for good, or ctx has, and an error
// when Podman has not answered for five minutes.
func (s *Stack) Follow(ctx context.Context, o FollowOptions) error {
	now := time.Now()
	var (
		ids     []string
		sources []logSource
	)
	for service, list := range s.containers {
		for i, c := range list {
			ids = append(ids, c.ID)
			if slices.Contains(o.Quiet, service) {
				continue
			}
			source := logSource{id: c.ID, name: c.Name, subject: service, since: c.OutputSince()}
			if len(list) > 1 {
				source.subject = subject(service, i+1)
			}
			if s.kept[c.ID] {
				source.since = now
			}
			sources = append(sources, source)
		}
	}
	err := s.client.whileAnswered(ctx, ids, func(ctx context.Context) error { return s.follow(ctx, sources, o) })
	if err != nil {
		return fmt.Errorf("following project %s: %w", s.project, err)
	}
	return nil
}

// follow is Follow for as long as Podman answers.
func (s *Stack) follow(ctx context.Context, sources []logSource, o FollowOptions) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	changed := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		o.Changed(e)
	}
	note := func(service, text string) { changed(Event{Service: service, Kind: EventWarning, Text: text}) }
	var logs errgroup.Group
	delivered := make(chan struct{})
	logs.Go(func() error {
		defer close(delivered)
		return s.client.logs(ctx, sources, LogsOptions{Follow: true, Note: note}, o.Line)
	})
	s.tellEnded(changed)
	s.watchAll(ctx, changed)
	select {
	case <-delivered:
	case <-time.After(drainTimeout):
	case <-ctx.Done():
	}
	stop()
	return logs.Wait()
}

// tellEnded tells of the containers that had ended before anybody looked.
func (s *Stack) tellEnded(changed func(Event)) {
	for service, list := range s.containers {
		for i, c := range list {
			if !libpod.Ended(c.State.Status) || s.kept[c.ID] || c.StartsAgain() {
				continue
			}
			s.teller(service, i, changed)(EventExited, strconv.Itoa(c.State.ExitCode))
		}
	}
}

// watchAll watches the stack until nothing of it runs or will.
func (s *Stack) watchAll(ctx context.Context, changed func(Event)) {
	for again := true; again; again = s.refresh(ctx, changed) {
		s.Watch(ctx, changed)
	}
}

// refresh looks at the containers again, and reports whether one runs. One that
// its restart policy starts again is waited for.
func (s *Stack) refresh(ctx context.Context, changed func(Event)) (running bool) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for service, list := range s.containers {
		for i, c := range list {
			trouble := onTrouble(s.teller(service, i, changed))
			all.Go(func() {
				answer, err := insist(ctx, trouble, func(ctx context.Context) (*libpod.Container, error) { return s.client.resting(ctx, c.ID) })
				if err != nil {
					return // it is gone, or ctx has ended
				}
				mu.Lock()
				defer mu.Unlock()
				list[i] = answer
				running = running || answer.State.Running
			})
		}
	}
	all.Wait()
	return running && ctx.Err() == nil
}

// resting returns a container once it runs, or has ended and its restart policy does not
// start it again within [restartPatience].
func (c *Client) resting(ctx context.Context, id string) (*libpod.Container, error) {
	for deadline := time.Now().Add(restartPatience); ; {
		answer, err := c.api.InspectContainer(ctx, id)
		if err != nil || answer.State.Running || !answer.StartsAgain() || time.Now().After(deadline) {
			return answer, err
		}
		if err := retry.Wait(ctx, restartPoll); err != nil {
			return nil, err
		}
	}
}

// ExitCode is the exit code of an event of kind [EventExited].
func (e Event) ExitCode() int {
	code, err := strconv.Atoi(e.Text)
	if err != nil {
		return 0
	}
	return code
}

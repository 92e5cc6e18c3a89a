package podmanrun

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// LogsOptions says which lines [Client.Logs] delivers.
type LogsOptions struct {
	Services   []string  // empty is every service
	Follow     bool      // go on until the containers end or ctx does
	Tail       int       // only the last lines of each container; zero is all of them
	Timestamps bool      // each line starts with its RFC 3339 time
	Since      time.Time // only lines from then on; zero is all of them

	Names func(names []string) // told whom lines may come from, before the first; may be nil
}

// Logs delivers the output of a project's services line by line, without line
// ends; of one with several containers as service-1, service-2 and so on. Calls of
// line never overlap; lines of one service come in order. With Follow it returns
// nil when ctx ends.
func (c *Client) Logs(ctx context.Context, project string, o LogsOptions, line func(service, line string)) error {
	list, err := c.listed(ctx, project, o.Services)
	if err != nil {
		return err
	}
	sources := make([]logSource, len(list))
	for i, l := range list {
		sources[i] = logSource{id: l.ID, name: l.Name(), subject: subject(l.Labels[LabelService], replicaIn(l, list)), since: o.Since}
	}
	if o.Names != nil {
		names := make([]string, len(sources))
		for i, s := range sources {
			names[i] = s.subject
		}
		o.Names(names)
	}
	return c.logs(ctx, sources, o, line)
}

// logSource is a container whose output is read.
type logSource struct {
	id, name, subject string
	since             time.Time
}

func (c *Client) logs(ctx context.Context, sources []logSource, o LogsOptions, line func(service, line string)) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	for _, source := range sources {
		g.Go(func() error {
			return c.logsOf(gctx, source, o, func(text string) {
				mu.Lock()
				defer mu.Unlock()
				line(source.subject, text)
			})
		})
	}
	err := g.Wait()
	if o.Follow && ctx.Err() != nil {
		return nil
	}
	return err
}

// logsOf reads the output of one container, and goes on when it was started again.
func (c *Client) logsOf(ctx context.Context, source logSource, o LogsOptions, line func(string)) error {
	options := libpod.LogsOptions{Follow: o.Follow, Tail: o.Tail, Timestamps: o.Timestamps, Since: source.since}
	for {
		err := c.api.Logs(ctx, source.id, source.name, options, line)
		if err != nil || !o.Follow {
			return err
		}
		again, since, err := c.startedAgain(ctx, source.id)
		if err != nil || !again {
			return err
		}
		options.Tail, options.Since = 0, since
	}
}

// startedAgain reports whether a container whose output has ended was started anew,
// and since when what it writes is new.
func (c *Client) startedAgain(ctx context.Context, id string) (again bool, since time.Time, err error) {
	var ended time.Time // the start that came to its end
	for deadline := time.Now().Add(restartPatience); ; {
		answer, err := c.api.InspectContainer(ctx, id)
		if gone(err) {
			return false, since, nil
		}
		if err != nil {
			return false, since, err
		}
		switch {
		case ended.IsZero():
			ended = answer.State.StartedAt
		case answer.State.StartedAt.After(ended):
			return true, answer.OutputSince(), nil
		}
		if libpod.Ended(answer.State.Status) && !answer.StartsAgain() || time.Now().After(deadline) {
			return false, since, nil
		}
		if err := retry.Wait(ctx, restartPoll); err != nil {
			return false, since, err
		}
	}
}

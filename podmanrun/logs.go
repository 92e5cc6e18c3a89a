package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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

	Owner Owner // only this owner's containers; zero: everybody's

	Names func(names []string)       // told whom lines may come from, before the first; may be nil
	Note  func(service, text string) // told why a service has no lines, one at a time; may be nil
}

// Logs delivers the output of a project's services line by line, without line
// ends; of one with several containers as service-1, service-2 and so on. Calls of
// line never overlap; lines of one service come in order. With Follow it goes on
// over restarts, of Podman too; it returns nil when ctx ends, and an error when Podman
// has not answered for five minutes. A container whose output cannot be read keeps
// nobody from that of the others.
func (c *Client) Logs(ctx context.Context, project string, o LogsOptions, line func(service, line string)) error {
	list, err := c.listed(ctx, o.Owner, project, o.Services)
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
	if !o.Follow {
		return c.logs(ctx, sources, o, line)
	}
	ids := make([]string, len(list))
	for i, l := range list {
		ids[i] = l.ID
	}
	err = c.whileAnswered(ctx, ids, func(ctx context.Context) error { return c.logs(ctx, sources, o, line) })
	if err != nil {
		return fmt.Errorf("following the logs of project %s: %w", project, err)
	}
	return nil
}

// logSource is a container whose output is read.
type logSource struct {
	id, name, subject string
	since             time.Time
}

func (c *Client) logs(ctx context.Context, sources []logSource, o LogsOptions, line func(service, line string)) error {
	var mu sync.Mutex
	errs := make([]error, len(sources))
	var all sync.WaitGroup
	for i, source := range sources {
		all.Go(func() {
			errs[i] = c.logsOf(ctx, source, o, func(text string) {
				mu.Lock()
				defer mu.Unlock()
				line(source.subject, text)
			}, func(text string) {
				mu.Lock()
				defer mu.Unlock()
				if o.Note != nil {
					o.Note(source.subject, text)
				}
			})
		})
	}
	all.Wait()
	if o.Follow && ctx.Err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

// logsOf reads the output of one container, and goes on when it was started again. With
// Follow it also goes on after a stream that broke, as that of a Podman that is
// restarted does; a note tells so once.
func (c *Client) logsOf(ctx context.Context, source logSource, o LogsOptions, line, note func(string)) error {
	var once sync.Once
	trouble := func(err error) {
		once.Do(func() { note(fmt.Sprintf("its output is asked for again and again until Podman answers: %v", err)) })
	}
	look := func(ctx context.Context) (*libpod.Container, error) { return c.api.InspectContainer(ctx, source.id) }
	if o.Follow {
		asked := look
		look = func(ctx context.Context) (*libpod.Container, error) { return insist(ctx, trouble, asked) }
	}
	// Looked at before the stream is opened: what is started after that is missed by
	// nobody.
	run, err := look(ctx)
	if err != nil {
		return ignoreGone(err)
	}
	if run.HostConfig.LogConfig.Type == "none" {
		note("its logging driver is none, so nobody keeps what it writes")
		return nil
	}
	position := logPosition{since: source.since}
	options := libpod.LogsOptions{Follow: o.Follow, Tail: o.Tail}
	for over := false; ; { // once it has ended for good
		options.Since = position.since
		broken := c.api.StampedLogs(ctx, source.id, source.name, options, func(stamp, text string) {
			if !position.isNew(stamp) {
				return
			}
			if o.Timestamps {
				text = stamp + " " + text
			}
			line(text)
		})
		if !o.Follow || over || gone(broken) || ctx.Err() != nil {
			return ignoreGone(broken) // it was removed since it was looked at
		}
		if broken != nil {
			trouble(broken)
			if err := retry.Wait(ctx, watchAgain); err != nil {
				return err
			}
		}
		next, err := insist(ctx, trouble, func(ctx context.Context) (*libpod.Container, error) {
			return c.writesOn(ctx, source.id, run.State.StartedAt)
		})
		if err != nil || next == nil && broken == nil {
			return err
		}
		if over = next == nil; !over { // else the rest of its output is read
			run = next
		}
		if position.last != "" {
			options.Tail = 0
		}
		position.again()
	}
}

// logPosition is how far the output of a container has been read. A stream ends a
// moment after its container and may have had the beginning of what the next run
// writes, so the next stream begins with lines that are known: those with the
// time of the last one.
type logPosition struct {
	since time.Time // where the next stream begins
	last  string    // the time of the last line, as Podman writes it; empty is none
	lines int       // how many had it
	known int       // how many of them the stream still has to repeat
}

// isNew takes note of a line, and reports whether it is one that no former stream had.
func (p *logPosition) isNew(stamp string) bool {
	if p.known > 0 && stamp == p.last {
		p.known--
		return false
	}
	p.known = 0
	if stamp != p.last {
		p.last, p.lines = stamp, 0
	}
	p.lines++
	return true
}

// again moves to where the stream after this one begins.
func (p *logPosition) again() {
	p.known = 0
	if at, err := time.Parse(time.RFC3339Nano, p.last); err == nil {
		p.since, p.known = at.Add(-1), p.lines // Podman leaves out lines of the very time
	}
}

// writesOn waits until a container whose output is not read any more was started anew
// since before, or turns out to run on, and returns it; nil when it does neither. A stream
// may be over a moment before Podman knows that its container is.
func (c *Client) writesOn(ctx context.Context, id string, before time.Time) (*libpod.Container, error) {
	for begun := time.Now(); ; {
		answer, err := c.api.InspectContainer(ctx, id)
		if gone(err) {
			return nil, nil //nolint:nilnil // it was removed
		}
		if err != nil {
			return nil, err
		}
		waited, status := time.Since(begun), answer.State.Status
		if answer.State.StartedAt.After(before) || waited >= watchAgain && (status == "running" || status == "paused") {
			return answer, nil
		}
		if libpod.Ended(status) && !answer.StartsAgain() || waited >= restartPatience {
			return nil, nil //nolint:nilnil // it has ended for good
		}
		if err := retry.Wait(ctx, restartPoll); err != nil {
			return nil, err
		}
	}
}

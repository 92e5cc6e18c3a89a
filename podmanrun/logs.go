package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
	out := output{client: c, logSource: source, line: func(l libpod.Line) {
		if o.Timestamps {
			l.Text = l.Stamp + " " + l.Text
		}
		line(l.Text)
	}}
	if !o.Follow {
		run, err := c.api.InspectContainer(ctx, source.id)
		if err != nil || silent(run, note) {
			return ignoreGone(err)
		}
		return ignoreGone(out.read(ctx, libpod.LogsOptions{Tail: o.Tail}, true))
	}
	var once sync.Once
	out.trouble = func(err error) {
		once.Do(func() { note(fmt.Sprintf("its output is asked for again and again until Podman answers: %v", err)) })
	}
	run, err := insist(ctx, out.trouble, func(ctx context.Context) (*libpod.Container, error) { return c.api.InspectContainer(ctx, source.id) })
	if err != nil || silent(run, note) {
		return ignoreGone(err)
	}
	return ignoreGone(out.follow(ctx, run, o.Tail))
}

// silent reports whether nobody keeps what a container writes, and notes it.
func silent(run *libpod.Container, note func(string)) bool {
	if run.HostConfig.LogConfig.Type != "none" {
		return false
	}
	note("its logging driver is none, so nobody keeps what it writes")
	return true
}

package podmanrun

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// LogsOptions says which lines [Client.Logs] delivers.
type LogsOptions struct {
	Services   []string // empty is every service
	Follow     bool     // go on until the containers end or ctx does
	Tail       int      // only the last lines of each service; zero is all of them
	Timestamps bool     // each line starts with its RFC 3339 time
}

// Logs delivers the output of a project's services line by line, without line
// ends; of one with several containers as service-1, service-2 and so on. Calls of line never overlap; lines of one service come in order. With
// Follow it returns nil when ctx ends.
func (c *Client) Logs(ctx context.Context, project string, o LogsOptions, line func(service, line string)) error {
	list, err := c.api.ListContainers(ctx, map[string]string{LabelProject: project})
	if err != nil {
		return err
	}
	for _, name := range o.Services {
		if !slices.ContainsFunc(list, func(l libpod.Listed) bool { return l.Labels[LabelService] == name }) {
			return fmt.Errorf("project %s has no container for service %s", project, name)
		}
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	for _, l := range list {
		service := l.Labels[LabelService]
		from := subject(service, replicaIn(l, list))
		if len(o.Services) > 0 && !slices.Contains(o.Services, service) {
			continue
		}
		g.Go(func() error {
			return c.api.Logs(gctx, l.ID, l.Name(), libpod.LogsOptions{Follow: o.Follow, Tail: o.Tail, Timestamps: o.Timestamps}, func(text string) {
				mu.Lock()
				defer mu.Unlock()
				line(from, text)
			})
		})
	}
	err = g.Wait()
	if o.Follow && ctx.Err() != nil {
		return nil
	}
	return err
}

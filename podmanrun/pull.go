package podmanrun

import (
	"context"
	"fmt"
	"sync"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// PullOptions say how [Client.Pull] pulls.
type PullOptions struct {
	Credentials Credentials // asked for each registry; nil is nobody
	Missing     bool        // only what is not in Podman's storage
	Progress    func(Event) // told what happens, one event at a time; may be nil
}

// Pull fetches the images of a project's services, several at a time, but for
// those that are built or must not be pulled.
func (c *Client) Pull(ctx context.Context, p *Project, o PullOptions) error {
	var mu sync.Mutex
	tell := func(e Event) {
		if o.Progress != nil {
			mu.Lock()
			defer mu.Unlock()
			o.Progress(e)
		}
	}
	who := (&UpOptions{Credentials: o.Credentials}).logins()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelPulls)
	seen := make(map[libpod.Pull]bool)
	for _, name := range p.ServiceNames() {
		s := p.compose.Services[name]
		if s.Build != nil || s.PullPolicy == types.PullPolicyNever || s.PullPolicy == types.PullPolicyBuild {
			continue
		}
		pull := libpod.Pull{Image: imageName(p.compose, s), Platform: s.Platform, Policy: types.PullPolicyAlways, Login: p.logins[name]}
		if o.Missing {
			pull.Policy = types.PullPolicyMissing
		}
		if seen[pull] {
			continue
		}
		seen[pull] = true
		g.Go(func() error {
			_, err := c.api.EnsureImage(gctx, pull, who, func(text string) {
				tell(Event{Service: name, Kind: EventPulling, Text: text})
			})
			if err != nil {
				return fmt.Errorf("service %s: %w", name, err)
			}
			tell(Event{Service: name, Kind: EventPulled})
			return nil
		})
	}
	return g.Wait()
}

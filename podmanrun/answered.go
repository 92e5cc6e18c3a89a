package podmanrun

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// lostAfter is how long Podman may leave whoever follows containers without an answer:
	// one that is restarted is back within seconds, one that is upgraded with its node
	// within minutes.
	lostAfter = 5 * time.Minute
	// lostLook is the pause between two looks that find that out: few enough beside the
	// looks of the watch, and many within lostAfter.
	lostLook = 10 * time.Second
)

// whileAnswered does what repeats its looks at containers until Podman answers, and ends
// it with an error when Podman has not for [lostAfter].
func (c *Client) whileAnswered(ctx context.Context, ids []string, do func(context.Context) error) error {
	if len(ids) == 0 {
		return do(ctx)
	}
	g, ctx := errgroup.WithContext(ctx)
	looking, stop := context.WithCancel(ctx)
	g.Go(func() error {
		return untilLost(looking, ids, func(ctx context.Context, id string) error {
			_, err := c.api.InspectContainer(ctx, id)
			return err
		})
	})
	g.Go(func() error {
		defer stop()
		return do(ctx)
	})
	return g.Wait()
}

// untilLost looks at one container after the other, and returns the last error when no
// look has succeeded for [lostAfter], or nil when ctx ends.
func untilLost(ctx context.Context, ids []string, look func(ctx context.Context, id string) error) error {
	answered := time.Now()
	for i := 0; ; i++ {
		if retry.Wait(ctx, lostLook) != nil {
			return nil
		}
		err := look(ctx, ids[i%len(ids)])
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil || gone(err):
			answered = time.Now()
		case time.Since(answered) >= lostAfter:
			return hint.With(fmt.Errorf("podman has answered no look at a container for %s: %w", lostAfter, err),
				"run dockless doctor --only podman, and look into the log of the Podman service")
		}
	}
}

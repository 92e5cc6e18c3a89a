package podmanrun

import (
	"context"
	"fmt"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

const (
	// maxEnds is how often a service may end while the stack comes up before it is
	// taken for one that never will: once for a dependency that was not there yet,
	// and as often again for one that was slow.
	maxEnds = 10
	// restartPatience is how long Podman may take to start a container again. It
	// does so at once, from its clean-up after the end.
	restartPatience = 10 * time.Second
	// restartPoll is how often it is looked whether it has.
	restartPoll = 100 * time.Millisecond
	// settlePoll is how often it is looked for what became of one that was sent a
	// signal: Podman takes a quarter of a second.
	settlePoll = 50 * time.Millisecond
)

// lastEnd waits until the container has ended for good: Podman starts one with a
// restart policy again.
func (n *unit) lastEnd(ctx context.Context) (*libpod.Container, error) {
	for ends := 1; ; ends++ {
		answer, err := n.up.exits.wait(ctx, n.id)
		if err != nil || !n.startsAgain(answer) {
			return answer, err
		}
		if ends == maxEnds {
			return nil, n.endedWith(answer.State.ExitCode, fmt.Errorf("%s, %d times while the stack came up", endText(answer.State.ExitCode), ends))
		}
		again, err := n.up.client.startedSince(ctx, n.id, answer.State.StartedAt)
		if err != nil || !again {
			return answer, err
		}
	}
}

// startsAgain reports whether the restart policy wants a container that has ended
// to be started again.
func (n *unit) startsAgain(c *libpod.Container) bool {
	switch n.request.RestartPolicy {
	case "always", "unless-stopped":
		return c.State.ExitCode != 0 || !n.completes
	case "on-failure":
		tries := n.request.RestartTries
		return c.State.ExitCode != 0 && (tries == nil || c.Restarts < int(*tries))
	}
	return false
}

// startedSince waits until Podman has started a container anew since before.
func (c *Client) startedSince(ctx context.Context, id string, before time.Time) (bool, error) {
	for deadline := time.Now().Add(restartPatience); time.Now().Before(deadline); {
		answer, err := c.api.InspectContainer(ctx, id)
		if err != nil {
			return false, err
		}
		if answer.State.StartedAt.After(before) {
			return true, nil
		}
		if err := retry.Wait(ctx, restartPoll); err != nil {
			return false, err
		}
	}
	return false, nil
}

// settled waits until Podman has started a container again that was sent a signal, as
// Podman 4 does when its policy says so, or has cleaned up after it. Before that, a stop
// finds nothing to do and keeps nobody from starting it.
func (c *Client) settled(ctx context.Context, id string) error {
	for deadline := time.Now().Add(restartPatience); time.Now().Before(deadline); {
		answer, err := c.api.InspectContainer(ctx, id)
		if err != nil || answer.State.Status != "stopped" {
			return err
		}
		if err := retry.Wait(ctx, settlePoll); err != nil {
			return err
		}
	}
	return nil // nobody cleans up, and nobody starts it
}

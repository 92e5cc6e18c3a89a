package podmanrun

import (
	"context"
	"errors"
	"strconv"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// portDraws is how often ports are drawn for a container. Of ten stacks at once, two drew
// the same one in 77 rounds; five times in a row is no bad luck any more.
const portDraws = 5

// onFreePorts starts the container. Podman draws a port that the file leaves to it when
// it makes the container, and listens there only from its start on: of several that are
// made at once, two may have drawn the same. One that finds its port taken then is made
// again, with another.
func (n *unit) onFreePorts(ctx context.Context, start func(context.Context) error) error {
	for draw := 1; ; draw++ {
		err := n.inSlot(ctx, start)
		if err == nil || draw == portDraws || !n.drew(err) || n.again || n.isOneOff() || n.guest() != "" {
			return err
		}
		if err := n.up.client.api.RemoveContainer(context.WithoutCancel(ctx), n.id, n.request.Name, 0); err != nil {
			return err
		}
		if err := n.make(ctx); err != nil {
			return err
		}
	}
}

// drew reports whether a refusal says that a port is taken which Podman had drawn.
func (n *unit) drew(err error) bool {
	status, ok := errors.AsType[*libpod.StatusError](err)
	if !ok {
		return false
	}
	found := portTaken.FindStringSubmatch(status.Message)
	if found == nil {
		return false
	}
	port, err := strconv.ParseUint(found[3], 10, 16)
	return err == nil && n.mappings(found[1], found[2], uint16(port)) == 0
}

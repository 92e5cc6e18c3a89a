package podmanrun

import (
	"context"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// End is how a container ended.
type End struct {
	Code        int
	OutOfMemory bool // the kernel killed it for want of memory
}

// Ended returns how a container ended; nil while it runs. One that is gone is a
// [*StatusError] with code 404.
func (c *Client) Ended(ctx context.Context, id string) (*End, error) {
	answer, err := c.api.InspectContainer(ctx, id)
	if err != nil || !libpod.Ended(answer.State.Status) {
		return nil, err
	}
	return &End{Code: answer.State.ExitCode, OutOfMemory: answer.State.OOMKilled}, nil
}

// graceOf is the stop timeout that a container was made with.
func graceOf(l libpod.Listed) time.Duration {
	seconds, err := strconv.Atoi(l.Labels[labelGrace])
	if err != nil {
		return stopGrace
	}
	return time.Duration(seconds) * time.Second
}

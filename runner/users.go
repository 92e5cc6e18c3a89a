package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/launch"
)

// matchUsers chooses who runs the processes in the containers of the job: the user
// that is the agent's outside of them, so that both can change and remove each
// other's files. With a Podman of the agent's own user that is root.
func (x *execution) matchUsers(ctx context.Context, _ *node) error {
	if x.cfg.Podman == nil || len(x.targets()) == 0 {
		return nil
	}
	users, err := x.cfg.Podman.Users(ctx)
	if err != nil {
		return err
	}
	uid, gid, ok := users.Inside(os.Geteuid(), os.Getegid())
	if !ok {
		return hint.With(
			fmt.Errorf("the agent is user %d, who is nobody in the containers of its Podman, the one of user %d: they could not change each other's files", os.Geteuid(), users.Root()),
			"run Podman as the agent's user, or give %d to Podman's user in /etc/subuid where Podman runs", os.Geteuid())
	}
	x.user = fmt.Sprintf("%d:%d", uid, gid)
	return nil
}

// probe makes and removes files of the job from both sides.
func (x *execution) probe(ctx context.Context, c *container) error {
	dir := filepath.Join(x.folders.temp, "probe-"+uuid.NewString())
	err := os.MkdirAll(filepath.Join(dir, "outside", "directory"), 0o755) //nolint:gosec // as a step would
	if err == nil {
		err = launch.Probe(ctx, c.socket, c.sees.Inside(dir))
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(dir, "inside"))
	}
	if err == nil {
		err = os.Remove(dir) // empty, when the container could remove its part
	}
	if err == nil {
		return nil
	}
	return hint.With(fmt.Errorf("the agent (user %d) and container %s (user %s) cannot change each other's files: %w", os.Geteuid(), c.alias, x.user, err),
		"run Podman as the agent's user")
}

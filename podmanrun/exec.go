package podmanrun

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// ExecOptions say what [Client.Exec] runs. Empty fields are the container's own.
type ExecOptions struct {
	Service    string
	Replica    int   // which container of the service, counted from 1; zero is the first that runs
	Owner      Owner // only in this owner's containers; zero: in everybody's
	Command    []string
	Env        []string // NAME=value, added to the container's
	User       string
	WorkDir    string
	Privileged bool
	Detach     bool // return when the command runs, and leave it to itself
	Streams    Streams
}

// execMark is a variable by which the processes of a command are found in their
// container.
const execMark = "DOCKLESS_EXEC"

// execEndTimeout bounds the end of a command that nobody waits for any more: two
// seconds of grace, or ten where sleep only knows whole ones, and what Podman needs.
const execEndTimeout = 20 * time.Second

// Exec runs a command in a running container of a project, and returns its exit
// code: 126 for one that cannot be run and 127 for one that is not there.
//
// When ctx ends, the command is ended with everything it has started, as far as
// the container has a shell to do that with: Podman has no way of its own.
func (c *Client) Exec(ctx context.Context, project string, o ExecOptions) (code int, err error) {
	l, err := c.container(ctx, ContainerOf{Project: project, Owner: o.Owner, Service: o.Service, Replica: o.Replica})
	if err != nil {
		return 0, err
	}
	if l.State != "running" {
		err := fmt.Errorf("the container of service %s is %s, not running", o.Service, l.State)
		return 0, hint.With(err, "start it with \"dockless stack start %s\"", o.Service)
	}
	r := libpod.ExecRequest{Cmd: o.Command, Env: o.Env, User: o.User, WorkingDir: o.WorkDir, Privileged: o.Privileged}
	if o.Detach {
		return 0, c.api.ExecDetached(ctx, l.ID, l.Name(), r)
	}
	mark := execMark + "=" + rand.Text()
	r.Env = append(slices.Clip(r.Env), mark)
	code, err = c.api.ExecAttached(ctx, l.ID, l.Name(), r, o.Streams)
	if ctx.Err() != nil {
		c.endExec(ctx, l, o.User, mark)
		return 0, context.Cause(ctx)
	}
	return code, err
}

// endMarked is a script that ends every process whose environment has its first
// argument: with SIGTERM, and what is left after two seconds with SIGKILL. It uses
// what the smallest containers with a shell have.
const endMarked = `each() {
	found=1
	for p in /proc/[0-9]*; do
		case "$(cat "$p/environ")" in *"$mark"*) found=0; kill "$1" "${p#/proc/}" ;; esac
	done
	return $found
} 2>/dev/null
mark=$1
each -TERM
for i in 1 2 3 4 5 6 7 8 9 10; do
	each -0 || exit 0
	sleep 0.2 2>/dev/null || sleep 1
done
each -KILL
:`

// endExec ends the processes with a mark in a container.
func (c *Client) endExec(ctx context.Context, l libpod.Listed, user, mark string) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), execEndTimeout, fmt.Errorf("not done within %s", execEndTimeout))
	defer cancel()
	code, err := c.api.Exec(ctx, l.ID, l.Name(), libpod.ExecRequest{Cmd: []string{"sh", "-c", endMarked, "sh", mark}, User: user}, func(string) {})
	if (err != nil || code != 0) && !gone(err) {
		c.log.WarnContext(ctx, "a command may go on in its container", "container", l.Name(), "exit_code", code, "error", err)
	}
}

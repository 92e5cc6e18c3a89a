package stackcmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/podmanrun"
)

// act is something that is done to containers of a project.
type act func(ctx context.Context, c *podmanrun.Client, project string, o podmanrun.ServicesOptions) error

// newActCommand makes a command that does something to all services, or to those
// that are named, and says what it did.
func newActCommand(f *stackFlags, cmd *cobra.Command, timeout *seconds, do act) *cobra.Command {
	cmd.Use += " [SERVICE...]"
	cmd.ValidArgsFunction = f.services(0)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		lines := &stackLines{w: cmd.ErrOrStderr(), start: time.Now()}
		o := podmanrun.ServicesOptions{Services: args, Owner: jobOwner(), Progress: lines.event}
		if timeout != nil {
			o.Timeout = timeout.pointer()
		}
		return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error { return do(ctx, c, project, o) })
	}
	if timeout != nil {
		cmd.Flags().VarP(timeout, "timeout", "t", "`DURATION` or seconds between SIGTERM and SIGKILL instead of each service's own")
	}
	return cmd
}

func newStartCommand(f *stackFlags) *cobra.Command {
	return newActCommand(f, &cobra.Command{
		Use:   "start",
		Short: "Start containers that were stopped",
		Long: `start starts containers that are there and do not run, those that others depend on
first, runs their post_start hooks, and waits for each that has a healthcheck to be
healthy, and for those that others wait to complete. What runs already is waited for
as well.`,
		Example: examples("start", "start db"),
	}, nil, func(ctx context.Context, c *podmanrun.Client, project string, o podmanrun.ServicesOptions) error {
		return c.Start(ctx, project, o)
	})
}

func newStopCommand(f *stackFlags) *cobra.Command {
	return newActCommand(f, &cobra.Command{
		Use:     "stop",
		Short:   "Stop containers without removing them",
		Long:    `stop stops containers, those that depend on others first. start or up starts them again.`,
		Example: examples("stop", "stop -t 2 web"),
	}, new(seconds), func(ctx context.Context, c *podmanrun.Client, project string, o podmanrun.ServicesOptions) error {
		return c.Stop(ctx, project, o)
	})
}

func newRestartCommand(f *stackFlags) *cobra.Command {
	return newActCommand(f, &cobra.Command{
		Use:   "restart",
		Short: "Stop containers and start them again",
		Long: `restart stops containers and starts them again, those that others depend on first,
as start does. A service whose
depends_on says restart: true is restarted with what it depends on. What the
file says meanwhile is not looked at; up does that.`,
		Example: examples("restart", "restart -t 2 web"),
	}, new(seconds), func(ctx context.Context, c *podmanrun.Client, project string, o podmanrun.ServicesOptions) error {
		return c.Restart(ctx, project, o)
	})
}

func newKillCommand(f *stackFlags) *cobra.Command {
	signal := "SIGKILL"
	cmd := newActCommand(f, &cobra.Command{
		Use:     "kill",
		Short:   "Send a signal to containers",
		Long:    `kill sends a signal to the processes of containers that run: SIGKILL, or another one.`,
		Example: examples("kill", "kill -s HUP web"),
	}, nil, func(ctx context.Context, c *podmanrun.Client, project string, o podmanrun.ServicesOptions) error {
		return c.Kill(ctx, project, signal, o)
	})
	cmd.Flags().StringVarP(&signal, "signal", "s", signal, "`SIGNAL` to send, by name or number")
	return cmd
}

func newPauseCommand(f *stackFlags) *cobra.Command {
	return newActCommand(f, &cobra.Command{
		Use:     "pause",
		Short:   "Freeze the processes of containers",
		Example: examples("pause", "pause db"),
	}, nil, func(ctx context.Context, c *podmanrun.Client, project string, o podmanrun.ServicesOptions) error {
		return c.Pause(ctx, project, o)
	})
}

func newUnpauseCommand(f *stackFlags) *cobra.Command {
	return newActCommand(f, &cobra.Command{
		Use:     "unpause",
		Short:   "Let the processes of paused containers go on",
		Example: examples("unpause", "unpause db"),
	}, nil, func(ctx context.Context, c *podmanrun.Client, project string, o podmanrun.ServicesOptions) error {
		return c.Unpause(ctx, project, o)
	})
}

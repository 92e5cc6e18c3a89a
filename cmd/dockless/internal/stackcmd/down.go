package stackcmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/podmanrun"
)

func newDownCommand(f *stackFlags) *cobra.Command {
	var (
		volumes, orphans bool
		timeout          seconds
		images           string
	)
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop and remove the project's containers and networks",
		Long: `down stops and removes everything that carries the labels of the project: its
containers, those of services that the file no longer has and those of single
commands among them, and its networks. With -p the file is not needed. Inside a job
it removes what is the job's.`,
		Example: examples("down", "down -v -t 2", "down --rmi local", "down -p shop"),
		Args:    cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var remove []string
			if images != "" {
				if err := cmdline.OneOf("--rmi", images, "local", "all"); err != nil {
					return err
				}
				p, err := f.load(cmd.Context(), jobOwner(), idle)
				if err != nil {
					return err
				}
				remove = p.Images(images == "local")
			}
			lines := &stackLines{w: cmd.ErrOrStderr(), start: time.Now()}
			options := podmanrun.DownOptions{Owner: jobOwner(), Volumes: volumes, Timeout: timeout.pointer(), Progress: lines.event}
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				if err := c.Down(ctx, project, options); err != nil {
					return err
				}
				used, err := c.RemoveImages(ctx, remove)
				for _, image := range used {
					console.Say(cmd.ErrOrStderr(), "warning: image %s stays, a container uses it\n", image)
				}
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&volumes, "volumes", "v", false, "remove named volumes too")
	flags.VarP(&timeout, "timeout", "t", "`DURATION` or seconds between SIGTERM and SIGKILL instead of each service's own")
	flags.StringVar(&images, "rmi", "", "remove images too: `local` for those that were built and have no name in the file, all for all")
	flags.BoolVar(&orphans, "remove-orphans", false, "changes nothing: containers of services that are gone are always removed")
	return cmd
}

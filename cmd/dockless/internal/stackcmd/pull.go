package stackcmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/credentials"
	"github.com/dockless-ci/dockless/podmanrun"
)

func newPullCommand(f *stackFlags) *cobra.Command {
	var (
		quiet, withDeps bool
		policy          string
	)
	cmd := &cobra.Command{
		Use:   "pull [SERVICE...]",
		Short: "Fetch the images of services",
		Long: `pull fetches the images of services, several at a time, but for those that are
built here or must not be pulled.`,
		Example:           examples("pull", "pull --policy missing db"),
		ValidArgsFunction: f.services(0),
		RunE: func(cmd *cobra.Command, services []string) error {
			if err := cmdline.OneOf("--policy", policy, "always", "missing"); err != nil {
				return err
			}
			p, err := f.part(cmd, services, withDeps || len(services) == 0)
			if err != nil {
				return err
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				events, err := newStackDisplay(cmd.Context(), cmd.ErrOrStderr(), quiet)
				if err != nil {
					return err
				}
				err = c.Pull(ctx, p, podmanrun.PullOptions{Credentials: credentials.ForPulls(c.Log()), Missing: policy == "missing", Progress: events.event})
				return errors.Join(err, events.close())
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&policy, "policy", "always", "`POLICY`: always, or missing to leave alone what is there")
	flags.BoolVar(&withDeps, "include-deps", false, "also the images of what the named services depend on")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print no progress")
	return cmd
}

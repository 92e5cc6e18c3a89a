package stackcmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/podmanrun"
)

func newExecCommand(f *stackFlags) *cobra.Command {
	var (
		o           podmanrun.ExecOptions
		streamFlags streamFlags
		env         []string
	)
	cmd := &cobra.Command{
		Use:   "exec [flags] SERVICE COMMAND [ARG...]",
		Short: "Run a command in a running container",
		Long: `exec runs a command in the container of a service, connected to standard input,
output and error, and ends with the command's exit code. On a terminal the command
has one too, unless -T says otherwise.

When exec is interrupted, the command is ended in its container, as far as that has
a shell.`,
		Example:           examples("exec db mysql -uroot", "exec -T db mysql shop < dump.sql", "exec -u root -e DEBUG=1 --index 2 web sh -c 'id; env'"),
		Args:              needArgs(2, "a service and a command"),
		ValidArgsFunction: f.services(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := valuesOf("--env", env)
			if err != nil {
				return err
			}
			for name, value := range values {
				o.Env = append(o.Env, name+"="+value)
			}
			o.Service, o.Command, o.Detach, o.Owner = args[0], args[1:], streamFlags.detach, jobOwner()
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				streams := streamFlags.open(cmd)
				if err := streams.start(); err != nil {
					return err
				}
				o.Streams = streams.Streams
				code, err := c.Exec(ctx, project, o)
				return passed(code, errors.Join(err, streams.stop()))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&env, "env", "e", nil, "variable `NAME=VALUE`, or NAME to take it from the environment; may be repeated")
	flags.StringVarP(&o.User, "user", "u", "", "run as `USER`")
	flags.StringVarP(&o.WorkDir, "workdir", "w", "", "run in `DIR` of the container")
	flags.BoolVar(&o.Privileged, "privileged", false, "give the command all capabilities")
	flags.IntVar(&o.Replica, "index", 0, "`NUMBER` of the container, when the service has several")
	streamFlags.register(cmd)
	return cmd
}

package stackcmd

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

func newCopyCommand(f *stackFlags) *cobra.Command {
	var replica int
	cmd := &cobra.Command{
		Use:   "cp SERVICE:PATH PATH|- | PATH|- SERVICE:PATH",
		Short: "Copy files out of a container or into it",
		Long: `cp copies a file or directory between this machine and the container of a service,
which need not run. A path that ends with /. is the content of a directory; - is a
tar archive on standard output or input. Copies belong to who runs the command,
and in a container to root, but for those of an archive, which says whose they are.
Without --index, a copy goes into every container of the service, and out of the
first.`,
		Example: examples("cp db:/var/log/mysql ./logs", "cp ./fixtures/. db:/fixtures", "cp web:/etc/nginx - | tar t"),
		Args:    both(needArgs(2, "a source and a target"), cmdline.MaxArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, fromPath, out := cutServicePath(args[0])
			to, toPath, in := cutServicePath(args[1])
			if in == out {
				return hint.With(cmdline.Usagef("one of %s and %s has to be in a container", args[0], args[1]), "write SERVICE:PATH for it, and ./PATH for a local name with a colon")
			}
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				of := podmanrun.ContainerOf{Project: project, Owner: jobOwner(), Service: from + to, Replica: replica}
				switch {
				case out && toPath == "-":
					archive, err := c.ArchiveOut(ctx, of, fromPath)
					if err != nil {
						return err
					}
					defer func() { _ = archive.Close() }() // read to its end, or nobody wants it
					_, err = io.Copy(cmd.OutOrStdout(), archive)
					return err
				case out:
					return c.CopyOut(ctx, of, fromPath, toPath)
				case fromPath == "-":
					return c.ArchiveIn(ctx, of, cmd.InOrStdin(), toPath)
				}
				return c.CopyIn(ctx, of, fromPath, toPath)
			})
		},
	}
	cmd.Flags().IntVar(&replica, "index", 0, "`NUMBER` of the container, when the service has several")
	return cmd
}

// cutServicePath cuts SERVICE:PATH. What begins with . or / is a path of this machine.
func cutServicePath(arg string) (service, path string, inContainer bool) {
	service, path, found := strings.Cut(arg, ":")
	if !found || service == "" || strings.HasPrefix(arg, ".") || strings.Contains(service, "/") {
		return "", arg, false
	}
	if path == "" {
		path = "/"
	}
	return service, path, true
}

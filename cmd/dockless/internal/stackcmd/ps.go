package stackcmd

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

func newPsCommand(f *stackFlags) *cobra.Command {
	var (
		all, quiet, onlyServices bool
		format                   string
	)
	cmd := &cobra.Command{
		Use:   "ps [SERVICE...]",
		Short: "List the project's containers",
		Long: `ps lists the containers of the project, those that have ended too, and runs the
healthcheck of each that has one. With --all it also lists those of single commands.`,
		Example:           examples("ps", "ps --format json web", "ps -q db"),
		ValidArgsFunction: f.services(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cmdline.OneOf("--format", format, "table", "json"); err != nil {
				return err
			}
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				list, err := c.PsOwned(ctx, jobOwner(), project)
				if err != nil {
					return err
				}
				list = slices.DeleteFunc(list, func(s podmanrun.ContainerStatus) bool {
					return s.OneOff && !all || len(args) > 0 && !slices.Contains(args, s.Service)
				})
				out := cmd.OutOrStdout()
				switch {
				case quiet:
					return printEach(out, list, func(s podmanrun.ContainerStatus) string { return s.ID })
				case onlyServices:
					return printEach(out, list, func(s podmanrun.ContainerStatus) string { return s.Service })
				case format == "json":
					return console.PrintJSON(out, list)
				}
				return printContainers(out, list)
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&all, "all", "a", false, "also the containers of single commands, of stack run")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print IDs only")
	flags.BoolVar(&onlyServices, "services", false, "print the names of services only")
	flags.StringVar(&format, "format", "table", "`FORM`: table or json")
	return cmd
}

// printEach prints one thing about each item, without repeating lines.
func printEach[T any](w io.Writer, list []T, about func(T) string) error {
	seen := make(map[string]bool)
	for _, item := range list {
		text := about(item)
		if seen[text] {
			continue
		}
		seen[text] = true
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

func printContainers(w io.Writer, list []podmanrun.ContainerStatus) error {
	t := console.NewTable(w)
	console.Say(t, "SERVICE\tIMAGE\tSTATE\tHEALTH\tPORTS\n")
	for _, s := range list {
		ports := make([]string, len(s.Ports))
		for i, p := range s.Ports {
			ports[i] = p.String()
		}
		state := s.State
		if state == "exited" {
			state = fmt.Sprintf("exited (%d)", s.ExitCode)
		}
		console.Say(t, "%s\t%s\t%s\t%s\t%s\n", s.Subject(list), s.Image, state, s.Health, strings.Join(ports, ", "))
	}
	return t.Flush()
}

func newPortCommand(f *stackFlags) *cobra.Command {
	var replica int
	protocol := "tcp"
	cmd := &cobra.Command{
		Use:               "port SERVICE PORT",
		Short:             "Print where a port of a service is published",
		Long:              `port prints the address and port at which a port of a service's container is published.`,
		Example:           examples("port web 8080", "port --protocol udp dns 53", "port --index 2 web 8080"),
		Args:              both(needArgs(2, "a service and a port"), cmdline.MaxArgs(2)),
		ValidArgsFunction: f.services(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, with, _ := strings.Cut(args[1], "/")
			if with != "" {
				protocol = with
			}
			port, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				return cmdline.Usagef("%q is no port", args[1])
			}
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				list, err := c.PsOwned(ctx, jobOwner(), project)
				if err != nil {
					return err
				}
				for _, s := range list {
					if s.Service != args[0] || s.OneOff || s.Replica != max(1, replica) {
						continue
					}
					for _, p := range s.Ports {
						if p.Container == int(port) && p.Protocol == protocol { //nolint:gosec // 16 bits
							host := p.HostIP
							if host == "" {
								host = "0.0.0.0"
							}
							_, err := fmt.Fprintln(cmd.OutOrStdout(), net.JoinHostPort(host, strconv.Itoa(p.Host)))
							return err
						}
					}
				}
				err = fmt.Errorf("port %d/%s of service %s of project %s is not published", port, protocol, args[0], project)
				return hint.With(err, "dockless stack ps lists what is")
			})
		},
	}
	cmd.Flags().StringVar(&protocol, "protocol", protocol, "`PROTOCOL`: tcp or udp")
	cmd.Flags().IntVar(&replica, "index", 0, "`NUMBER` of the container, when the service has several")
	return cmd
}

func newListCommand(*stackFlags) *cobra.Command {
	var (
		quiet  bool
		format string
	)
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the projects on this Podman",
		Example: examples("ls", "ls --format json"),
		Args:    cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmdline.OneOf("--format", format, "table", "json"); err != nil {
				return err
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				list, err := c.Projects(ctx)
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				switch {
				case quiet:
					return printEach(out, list, func(p podmanrun.ProjectStatus) string { return p.Name })
				case format == "json":
					return console.PrintJSON(out, list)
				}
				return printProjects(out, list)
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only")
	cmd.Flags().StringVar(&format, "format", "table", "`FORM`: table or json")
	return cmd
}

func printProjects(w io.Writer, list []podmanrun.ProjectStatus) error {
	t := console.NewTable(w)
	console.Say(t, "NAME\tCONTAINERS\tAGENT\tJOB\n")
	for _, p := range list {
		var states []string
		for _, state := range slices.Sorted(maps.Keys(p.States)) {
			states = append(states, fmt.Sprintf("%s (%d)", state, p.States[state]))
		}
		console.Say(t, "%s\t%s\t%s\t%s\n", p.Name, strings.Join(states, ", "), p.Agent, p.Job)
	}
	return t.Flush()
}

func newTopCommand(f *stackFlags) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "top [SERVICE...]",
		Short:             "List the processes of the services",
		Example:           examples("top", "top db"),
		ValidArgsFunction: f.services(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cmdline.OneOf("--format", format, "table", "json"); err != nil {
				return err
			}
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				list, err := c.Top(ctx, jobOwner(), project, args)
				if err != nil {
					return err
				}
				if format == "json" {
					return console.PrintJSON(cmd.OutOrStdout(), list)
				}
				t := console.NewTable(cmd.OutOrStdout())
				for i, s := range list {
					if i == 0 {
						console.Say(t, "SERVICE\t%s\n", strings.Join(s.Titles, "\t"))
					}
					for _, process := range s.Processes {
						console.Say(t, "%s\t%s\n", s.Subject(), strings.Join(process, "\t"))
					}
				}
				return t.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "`FORM`: table or json")
	return cmd
}

func newImagesCommand(f *stackFlags) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "images [SERVICE...]",
		Short:             "List the images that the containers were made from",
		Example:           examples("images", "images --format json"),
		ValidArgsFunction: f.services(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cmdline.OneOf("--format", format, "table", "json"); err != nil {
				return err
			}
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				list, err := c.ImagesInUse(ctx, jobOwner(), project, args)
				if err != nil {
					return err
				}
				if format == "json" {
					return console.PrintJSON(cmd.OutOrStdout(), list)
				}
				t := console.NewTable(cmd.OutOrStdout())
				console.Say(t, "CONTAINER\tIMAGE\tID\n")
				for _, s := range list {
					const enough = 12 // digits of an ID, as everywhere
					console.Say(t, "%s\t%s\t%s\n", s.Container, s.Image, s.ID[:min(enough, len(s.ID))])
				}
				return t.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "`FORM`: table or json")
	return cmd
}

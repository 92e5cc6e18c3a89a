package stackcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

// warmScopes says whose data services with warm are started from: in a job what the
// runner says, else that of this user.
func warmScopes(owner podmanrun.Owner) podmanrun.WarmScopes {
	if owner.Job == "" {
		return podmanrun.WarmScopes{Own: "user-" + strconv.Itoa(os.Getuid())}
	}
	names := strings.FieldsFunc(os.Getenv("DOCKLESS_WARM_SCOPES"), func(r rune) bool { return r == ',' })
	if len(names) == 0 {
		return podmanrun.WarmScopes{}
	}
	return podmanrun.WarmScopes{Own: names[0], Other: names[1:]}
}

func newWarmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "warm",
		Short: "The data that services with warm start from",
		Long: `warm shows and removes the data that is kept of services which have
x-dockless: {warm: true} in their compose file.`,
		Args: cmdline.KnownCommand,
		RunE: cmdline.ShowHelp,
	}
	cmd.AddCommand(newWarmLsCommand(), newWarmRmCommand(), newWarmPruneCommand())
	return cmd
}

func newWarmLsCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List what is kept, used last first",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmdline.OneOf("--output", output, "text", "json"); err != nil {
				return err
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				list, err := c.Fixtures(ctx)
				if err != nil {
					return err
				}
				if output == "json" {
					return console.PrintJSON(cmd.OutOrStdout(), append([]podmanrun.Fixture{}, list...))
				}
				return printFixtures(cmd.OutOrStdout(), list)
			})
		},
	}
	cmd.Flags().StringVar(&output, "output", "text", "`FORM`: text or json")
	return cmd
}

func printFixtures(w io.Writer, list []podmanrun.Fixture) error {
	t := console.NewTable(w)
	console.Say(t, "KEY\tSERVICE\tIMAGE\tSIZE\tLAST USED\tHITS\tSCOPE\n")
	for _, f := range list {
		console.Say(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", f.Key, f.Service, f.Image, units.BytesSize(float64(f.Bytes)),
			f.Used.Local().Format(time.DateTime), f.Hits, f.Scope)
	}
	return t.Flush()
}

func newWarmRmCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "rm [KEY...]",
		Short: "Remove what is kept under keys, or their beginnings",
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return cmdline.Unusable(errors.New("stack warm rm needs keys, or --all alone"))
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				list, err := c.Fixtures(ctx)
				if err != nil {
					return err
				}
				if !all {
					if list, err = chosen(list, args); err != nil {
						return err
					}
				}
				var errs []error
				for _, f := range list {
					err := c.RemoveFixture(ctx, f)
					if err == nil {
						console.Say(cmd.OutOrStdout(), "removed %s\n", f.Key)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove everything that is kept")
	return cmd
}

// chosen returns the fixtures whose keys begin with one of prefixes.
func chosen(list []podmanrun.Fixture, prefixes []string) ([]podmanrun.Fixture, error) {
	for _, prefix := range prefixes {
		if prefix == "" || !slices.ContainsFunc(list, func(f podmanrun.Fixture) bool { return strings.HasPrefix(f.Key, prefix) }) {
			return nil, hint.With(fmt.Errorf("nothing is kept under %q", prefix), "dockless stack warm ls lists what is")
		}
	}
	return slices.DeleteFunc(list, func(f podmanrun.Fixture) bool {
		return !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(f.Key, prefix) })
	}), nil
}

func newWarmPruneCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Remove what was not used for longest, until the rest fits into DOCKLESS_WARM_SIZE, and leftovers",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				gone, err := c.PruneFixtures(ctx)
				for _, f := range gone {
					console.Say(cmd.OutOrStdout(), "removed %s\n", f.Key)
				}
				return err
			})
		},
	}
}

package buildcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/imageworks"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/logging"
)

// NewBuilderCommand returns dockless builder with its subcommands.
func NewBuilderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "builder",
		Short: "The buildx builder that points at BuildKit",
		Args:  cmdline.KnownCommand,
		RunE:  cmdline.ShowHelp,
	}
	cmd.AddCommand(newBuilderEnsureCommand(), newBuilderInspectCommand(), newBuilderPruneCommand(), newBuilderConfigCommand(), newBuilderRemoveCommand())
	return cmd
}

func newBuilderEnsureCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ensure",
		Short: "Make the builder, or repair it, and make it current",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBuilder(cmd, func(_ context.Context, b *buildxsetup.Builder) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "builder %s is ready: %s\n", b.Name, nodeList(b))
				return err
			})
		},
	}
}

func nodeList(b *buildxsetup.Builder) string {
	names := make([]string, len(b.Nodes))
	for i, n := range b.Nodes {
		names[i] = n.Endpoint
	}
	return strings.Join(names, ", ")
}

// withBuilder ensures the builder, hands it to use and closes it.
func withBuilder(cmd *cobra.Command, use func(context.Context, *buildxsetup.Builder) error) (err error) {
	config, logConfig, err := imageworks.BuilderSettings(cmd, "")
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	b, err := buildxsetup.Ensure(ctx, config, logging.New(cmd.ErrOrStderr(), settings.Quieter(logConfig)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close(ctx)) }()
	return use(ctx, b)
}

func newBuilderRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm",
		Short: "Forget the builder; BuildKit and its cache stay",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, _, err := imageworks.BuilderSettings(cmd, "")
			if err != nil {
				return err
			}
			removed, err := buildxsetup.Remove(cmd.Context(), config)
			if err != nil {
				return err
			}
			text := "builder %s is removed\n"
			if !removed {
				text = "there is no builder %s\n"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), text, config.Name)
			return err
		},
	}
}

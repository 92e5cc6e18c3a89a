package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/buildcmd"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/doctorcmd"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/stackcmd"
	"github.com/dockless-ci/dockless/internal/hint"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dockless",
		Short: "An Azure Pipelines agent that needs no Docker daemon",
		Long: `dockless runs Azure Pipelines jobs without a Docker daemon: images are built by
BuildKit with a registry cache, dependency containers are started through the
Podman API, and any pipeline can be replayed on this machine.

Settings come from the environment; docs/configuration.md lists them.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cmdline.KnownCommand,
		RunE:          cmdline.ShowHelp,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return hint.With(cmdline.Unusable(err), "run %s --help for its flags", cmd.CommandPath())
	})
	root.SetHelpCommand(newHelpCommand())
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		newAgentCommand(),
		newReplayCommand(),
		buildcmd.NewBuildCommand(version),
		buildcmd.NewBakeCommand(version),
		stackcmd.NewCommand(version),
		buildcmd.NewBuilderCommand(),
		doctorcmd.NewCommand(version),
		newTasksCommand(),
		newEmulatorCommand(),
		newVersionCommand(),
		newCompletionCommand(),
		newDocsCommand(),
	)
	return root
}

func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmdline.OneOf("--output", output, "text", "json"); err != nil {
				return err
			}
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if output == "json" {
				return console.PrintJSON(cmd.OutOrStdout(), map[string]string{"version": version, "go": runtime.Version(), "platform": platform})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dockless %s %s %s\n", version, platform, runtime.Version())
			return err
		},
	}
	cmd.Flags().StringVar(&output, "output", "text", "`FORM`: text or json")
	return cmd
}

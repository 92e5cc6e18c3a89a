package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

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
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return hint.With(usagef("unknown command %q", args[0]), "run dockless --help for the list of commands")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return hint.With(usageError{err}, "run %s --help for its flags", cmd.CommandPath())
	})
	root.AddCommand(
		newAgentCommand(),
		newReplayCommand(),
		newBuildCommand(),
		newStackCommand(),
		newBuilderCommand(),
		newEmulatorCommand(),
		newVersionCommand(),
		newDocsCommand(),
	)
	return root
}

func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			facts := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			switch output {
			case "json":
				return printJSON(cmd.OutOrStdout(), facts)
			case "text":
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "dockless %s %s %s\n", facts["version"], facts["platform"], facts["go"])
				return err
			}
			return badOutput(output, "text", "json")
		},
	}
	cmd.Flags().StringVar(&output, "output", "text", "text or json")
	return cmd
}

// noArgs refuses arguments with a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return hint.With(usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0]), "run %s --help", cmd.CommandPath())
	}
	return nil
}

// atMostOneArg refuses a second argument with a usage error.
func atMostOneArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return hint.With(usagef("%s takes one argument, got %d", cmd.CommandPath(), len(args)), "run %s --help", cmd.CommandPath())
	}
	return nil
}

func badOutput(got string, known ...string) error {
	return usagef("--output %q is none of %v", got, known)
}

// dockerConfigDir is where the Docker command line keeps its configuration.
func dockerConfigDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".docker"
	}
	return home + "/.docker"
}

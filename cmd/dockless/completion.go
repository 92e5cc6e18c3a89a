package main

import (
	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/hint"
)

func newCompletionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script for bash, zsh, fish or powershell",
		Long: `completion prints a script that teaches a shell the commands and flags of dockless.

bash:   source <(dockless completion bash)
zsh:    dockless completion zsh > "${fpath[1]}/_dockless"
fish:   dockless completion fish > ~/.config/fish/completions/dockless.fish`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint.With(cmdline.Usagef("no shell is named"), "run %s %s", cmd.CommandPath(), cmdline.OrList(shells))
			}
			if err := cmdline.OneOf("the shell", args[0], shells...); err != nil {
				return err
			}
			return cmdline.MaxArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			default:
				return root.GenPowerShellCompletionWithDesc(out)
			}
		},
	}
}

// newHelpCommand is cobra's, with an error for a command that does not exist.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say what a command does",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return cmdline.KnownCommand(about, append(rest, args...)[:1])
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

package cmdline

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/internal/hint"
)

// ShowHelp is what a command that only has subcommands does by itself.
func ShowHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// KnownCommand refuses what is no subcommand with a usage error.
func KnownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := Usagef("%s has no command %q", cmd.CommandPath(), args[0])
	const typos = 2 // letters that may differ for "did you mean"
	cmd.SuggestionsMinimumDistance = typos
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = hint.With(err, "did you mean %s %s?", cmd.CommandPath(), near[0])
	}
	return hint.With(err, "run %s --help for the list of commands", cmd.CommandPath())
}

// NoArgs refuses arguments with a usage error.
func NoArgs(cmd *cobra.Command, args []string) error { return MaxArgs(0)(cmd, args) }

// MaxArgs refuses more than n arguments with a usage error.
func MaxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return hint.With(Usagef("%s does not know what to do with %q", cmd.CommandPath(), args[n]),
			"run %s --help for its arguments and flags", cmd.CommandPath())
	}
}

// OneOf refuses a flag's value that is not known with a usage error.
func OneOf(flag, got string, known ...string) error {
	if slices.Contains(known, got) {
		return nil
	}
	return hint.With(Usagef("%s %q does not exist", flag, got), "set %s to %s", flag, OrList(known))
}

// OrList is "a, b or c".
func OrList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// CompleteWords teaches shells the values of a flag.
func CompleteWords(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("a flag is completed before it exists: " + err.Error())
	}
}

package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/internal/hint"
)

// showHelp is what a command that only has subcommands does by itself.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// knownCommand refuses what is no subcommand with a usage error.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usagef("%s has no command %q", cmd.CommandPath(), args[0])
	const typos = 2 // letters that may differ for "did you mean"
	cmd.SuggestionsMinimumDistance = typos
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = hint.With(err, "did you mean %s %s?", cmd.CommandPath(), near[0])
	}
	return hint.With(err, "run %s --help for the list of commands", cmd.CommandPath())
}

// noArgs refuses arguments with a usage error.
func noArgs(cmd *cobra.Command, args []string) error { return maxArgs(0)(cmd, args) }

// maxArgs refuses more than n arguments with a usage error.
func maxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return hint.With(usagef("%s does not know what to do with %q", cmd.CommandPath(), args[n]),
			"run %s --help for its arguments and flags", cmd.CommandPath())
	}
}

// oneOf refuses a flag's value that is not known with a usage error.
func oneOf(flag, got string, known ...string) error {
	if slices.Contains(known, got) {
		return nil
	}
	return hint.With(usagef("%s %q does not exist", flag, got), "set %s to %s", flag, orList(known))
}

// orList is "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// completeWords teaches shells the values of a flag.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic("a flag is completed before it exists: " + err.Error())
	}
}

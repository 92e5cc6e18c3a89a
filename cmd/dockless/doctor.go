package main

import (
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/internal/doctor"
)

// checkTimeout bounds each check: adding up a large cache on a slow disk takes
// most of a minute.
const checkTimeout = time.Minute

// doctorFlags are those of dockless doctor.
type doctorFlags struct {
	output, buildkitdConfig, volumeSize string
}

func newDoctorCommand() *cobra.Command {
	f := &doctorFlags{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what will go wrong, and say what to do about it",
		Long: `doctor asks the builder's nodes, looks at their disks, and reads what limits their
caches. It changes nothing and starts nothing. It exits with 1 when a check failed;
a warning is something that works, until it does not.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.output, "output", "table", "`FORM`: table or json")
	flags.StringVar(&f.buildkitdConfig, "buildkitd-config", "", "also read this buildkitd.toml; - is standard input")
	flags.StringVar(&f.volumeSize, "volume-size", "", "`SIZE` of the volume that --buildkitd-config is for (default: look at its root, if that is here)")
	completeWords(cmd, "output", "table", "json")
	return cmd
}

func (f *doctorFlags) run(cmd *cobra.Command) error {
	if err := oneOf("--output", f.output, "table", "json"); err != nil {
		return err
	}
	config, _, err := builderSettings(cmd, "")
	if err != nil {
		return err
	}
	checks := builderChecks(cmd.Context(), config)
	if f.buildkitdConfig != "" {
		check, err := fileCheck(f.buildkitdConfig, f.volumeSize, cmd.InOrStdin())
		if err != nil {
			return err
		}
		checks = append(checks, check)
	}
	results := doctor.Run(cmd.Context(), checks, checkTimeout)
	w := cmd.OutOrStdout()
	if f.output == "json" {
		if err := printJSON(w, map[string]any{"checks": results}); err != nil {
			return err
		}
	} else {
		_, tty := terminalOf(w)
		printResults(w, results, columnsOf(w), tty && os.Getenv("NO_COLOR") == "")
	}
	if doctor.Failed(results) > 0 {
		return quietError{exitFailed}
	}
	return nil
}

// colours of statuses, as ANSI numbers.
var colours = map[doctor.Status]string{doctor.OK: "32", doctor.Warn: "33", doctor.Fail: "31", doctor.Skip: "90"}

// printResults writes one line for each result, and one for what to do.
func printResults(w io.Writer, results []doctor.Result, width int, colour bool) {
	longest := 0
	for _, r := range results {
		longest = max(longest, len(r.Name))
	}
	indent := len("warn") + 2 + longest + 2
	counts := make(map[doctor.Status]int)
	for _, r := range results {
		counts[r.Status]++
		before, after := "", ""
		if colour {
			before, after = "\x1b["+colours[r.Status]+"m", "\x1b[0m"
		}
		say(w, "%s%-4s%s  %-*s  %s\n", before, r.Status, after, longest, r.Name, wrapped(r.Detail, indent, width))
		if r.Hint != "" {
			say(w, "%*s%s\n", indent, "", wrapped("→ "+r.Hint, indent+2, width))
		}
	}
	say(w, "\n%d ok, %s, %d failed\n", counts[doctor.OK], count(counts[doctor.Warn], "warning"), counts[doctor.Fail])
}

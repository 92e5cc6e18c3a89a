// Package doctorcmd knows the checks of dockless doctor, one file for each peer and
// what is looked at of it, and how their answers are shown. Package doctor of the
// repository runs them; docs/doctor.md lists them, from the table in topics.go.
package doctorcmd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/logging"
)

// doctorBounds keep the command within five seconds: who asks a doctor waits for the
// answer, and what takes longer than four is wrong.
var doctorBounds = doctor.Bounds{Check: 4 * time.Second, All: 4500 * time.Millisecond}

// doctorFlags are those of dockless doctor.
type doctorFlags struct {
	version                             string // of this program
	output, buildkitdConfig, volumeSize string
	only, platforms, registries         []string
}

// NewCommand returns dockless doctor. Version is this program's.
func NewCommand(version string) *cobra.Command {
	f := &doctorFlags{version: version}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what will go wrong, and say what to do about it",
		Long: `doctor asks every peer, all at once and within five seconds: this machine, Azure
DevOps, BuildKit, Podman and the registries, as far as the settings name them. It
changes nothing and starts nothing. It exits with 1 when a check failed; a warning
is something that works, until it does not. docs/doctor.md lists the checks.

It looks with the eyes of whoever runs it: beside an agent, run it as the agent's
user, with its settings and in its directory, in a pod with kubectl exec.`,
		Example: `  dockless doctor
  dockless doctor --only buildkit,podman --output json
  dockless doctor --platform linux/amd64,linux/arm64 --registry registry.example.com/team/shop`,
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.output, "output", "table", "`FORM`: table or json")
	flags.StringSliceVar(&f.only, "only", nil, "run the checks of these groups only: "+strings.Join(groupNames(), ", "))
	flags.StringSliceVar(&f.platforms, "platform", nil, "`PLATFORM` that a node has to build for, for example linux/arm64; may be repeated")
	flags.StringSliceVar(&f.registries, "registry", nil, "`REPOSITORY` that has to take pushes, besides that of DOCKLESS_CACHE_REPO; may be repeated")
	flags.StringVar(&f.buildkitdConfig, "buildkitd-config", "", "also read this buildkitd.toml; - is standard input")
	flags.StringVar(&f.volumeSize, "volume-size", "", "`SIZE` of the volume that --buildkitd-config is for (default: look at its root, if that is here)")
	cmdline.CompleteWords(cmd, "output", "table", "json")
	cmdline.CompleteWords(cmd, "only", groupNames()...)
	return cmd
}

func (f *doctorFlags) run(cmd *cobra.Command) error {
	err := cmdline.OneOf("--output", f.output, "table", "json")
	for _, group := range f.only {
		err = errors.Join(err, cmdline.OneOf("--only", group, groupNames()...))
	}
	if err != nil {
		return err
	}
	ctx, start := cmd.Context(), time.Now()
	x := loadExamination(f)
	log := logging.New(cmd.ErrOrStderr(), settings.Quieter(x.Log))
	checks := slices.Concat(x.settingsChecks(), x.machineChecks(log), x.azureChecks(log), x.builderChecks(ctx), x.podmanChecks(log), x.registryChecks(log))
	if f.buildkitdConfig != "" {
		check, err := fileCheck(f.buildkitdConfig, f.volumeSize, cmd.InOrStdin())
		if err != nil {
			return err
		}
		checks = append(checks, check)
	}
	if len(f.only) > 0 {
		checks = slices.DeleteFunc(checks, func(c doctor.Check) bool { return !slices.Contains(f.only, c.Group) })
	}
	bounds := doctorBounds
	bounds.All -= time.Since(start) // finding out which nodes there are may have waited for buildx
	results := told(doctor.Run(ctx, checks, bounds))
	if cmdline.Interrupted(ctx) {
		return context.Cause(ctx)
	}
	w := cmd.OutOrStdout()
	if f.output == "json" {
		if err := console.PrintJSON(w, map[string]any{"checks": results, "failed": doctor.Failed(results), "seconds": time.Since(start).Seconds()}); err != nil {
			return err
		}
	} else {
		newChart(w).print(results, time.Since(start))
	}
	if doctor.Failed(results) > 0 {
		return cmdline.ExitWith(cmdline.ExitFailed)
	}
	return nil
}

// told returns results of which each text is a line: what peers say of themselves
// stands in them, and may be an error's several, or a terminal's commands.
func told(results []doctor.Result) []doctor.Result {
	for i := range results {
		r := &results[i]
		r.Name, r.Detail = console.OneLine(r.Name), console.OneLine(r.Detail)
		var hints []string
		for line := range strings.Lines(r.Hint) {
			hints = append(hints, console.OneLine(line))
		}
		r.Hint = strings.Join(hints, "\n")
	}
	return results
}

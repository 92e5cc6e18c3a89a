package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/logging"
)

func newReapCommand() *cobra.Command {
	var (
		options       agent.ReapOptions
		fleet, output string
	)
	cmd := &cobra.Command{
		Use:   "reap",
		Short: "Remove agents of the pool that went away without unregistering",
		Long: `reap removes the agents of AZP_POOL that belong to the fleet (DOCKLESS_FLEET), have
been offline for --offline-for, and have no job. Each is looked at again right
before it is removed. Placeholders, agents of other fleets and agents that are not
ours stay. It may run as often as you like, and several times at once; it needs
AZP_URL and the agent's credential, neither BuildKit nor Podman.

It exits with 1 when an agent could not be removed; the others are.`,
		Example: `  dockless agent reap --dry-run
  dockless agent reap --offline-for 1h --output json
  dockless agent reap --fleet gpu`,
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmdline.OneOf("--output", output, "text", "json"); err != nil {
				return err
			}
			if options.OfflineFor < 0 {
				return cmdline.Usagef("--offline-for %s is negative", options.OfflineFor)
			}
			var s agentSettings // of which only the sign-in is read: a CronJob sets nothing else
			if err := s.LoadSignIn(); err != nil {
				return err
			}
			if cmd.Flags().Changed("fleet") {
				s.Agent.Fleet = fleet
			}
			log := logging.New(cmd.ErrOrStderr(), settings.Quieter(s.Log))
			in, err := openSignIn(&s, log)
			if err != nil {
				return err
			}
			defer in.close()
			a, err := agent.New(s.Agent, nil, in.deps(s.agentDeps(log)))
			if err != nil {
				return cmdline.Unusable(err)
			}
			reaped, err := a.Reap(cmd.Context(), options)
			if reaped == nil && err != nil {
				return err // there was no list
			}
			if perr := printReaped(cmd.OutOrStdout(), output, &s, options, reaped); err == nil {
				err = perr
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&options.OfflineFor, "offline-for", agent.DefaultOfflineFor, "least `DURATION` since an agent went offline, for example 1h; 0 is any")
	flags.BoolVar(&options.DryRun, "dry-run", false, "tell what would be removed")
	flags.StringVar(&fleet, "fleet", "", "`NAME` of the fleet whose agents may go (DOCKLESS_FLEET)")
	flags.StringVar(&output, "output", "text", "`FORM`: text or json")
	cmdline.CompleteWords(cmd, "output", "text", "json")
	return cmd
}

func printReaped(w io.Writer, output string, s *agentSettings, o agent.ReapOptions, reaped []agent.Reaped) error {
	if output == "json" {
		return console.PrintJSON(w, map[string]any{"pool": s.Agent.Pool, "fleet": s.Agent.Fleet, "dryRun": o.DryRun, "agents": reaped})
	}
	if len(reaped) == 0 {
		_, err := fmt.Fprintf(w, "no agent of fleet %s in pool %s has been offline for %s\n", s.Agent.Fleet, s.Agent.Pool, o.OfflineFor)
		return err
	}
	table := console.NewTable(w)
	console.Say(table, "AGENT\tID\tOFFLINE SINCE\tOUTCOME\n")
	for _, r := range reaped {
		outcome := string(r.Outcome)
		if r.Reason != "" {
			outcome += ": " + console.OneLine(r.Reason)
		}
		console.Say(table, "%s\t%d\t%s\t%s\n", r.Name, r.ID, r.OfflineSince.UTC().Format(time.RFC3339), outcome)
	}
	return table.Flush()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/cdi"
)

// registerPlaceholder registers an agent that stands for those to come, with
// the capabilities that this image would have with these settings. BuildKit and
// Podman are asked only where the settings name them: neither is started for a
// moment.
func registerPlaceholder(ctx context.Context, s *agentSettings, w io.Writer, output string, log *slog.Logger) (err error) {
	if s.Agent.Name == "" {
		s.Agent.Name = agent.PlaceholderName
	}
	in, err := openSignIn(s, log)
	if err != nil {
		return err
	}
	defer in.close()
	s.Build.StateDir = filepath.Join(s.Agent.StateDir, "buildkit")
	settings := workshopSettings{build: s.Build, podman: s.Podman, needBuilder: s.Build.Hosts != "", wantPodman: s.Podman.Host != ""}
	shop, err := settings.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.close(ctx)) }()
	deps := in.deps(s.agentDeps(log))
	deps.Capabilities = shop.capabilities(ctx, cdi.Dirs(), log)
	a, err := agent.New(s.Agent, nil, deps)
	if err != nil {
		return cmdline.Unusable(err)
	}
	p, err := a.Placeholder(ctx)
	if err != nil {
		return err
	}
	if !p.Enabled {
		log.WarnContext(ctx, "the placeholder is disabled, so no job queues for it", "agent", p.Name, "agent_id", p.ID)
	}
	if output == "json" {
		return console.PrintJSON(w, p)
	}
	return printPlaceholder(w, p)
}

func printPlaceholder(w io.Writer, p agent.Placeholder) error {
	console.Say(w, "placeholder %s (agent %d of pool %s): %s\n", p.Name, p.ID, p.Pool, p.Action)
	table := console.NewTable(w)
	console.Say(table, "CAPABILITY\tVALUE\tKIND\n")
	for _, part := range []struct {
		kind string
		all  map[string]string
	}{{"system", p.Capabilities}, {"user", p.UserCapabilities}} {
		for _, name := range slices.Sorted(maps.Keys(part.all)) {
			console.Say(table, "%s\t%s\t%s\n", name, fmt.Sprintf("%.120q", part.all[name]), part.kind)
		}
	}
	return table.Flush()
}

package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/cdi"
	"github.com/dockless-ci/dockless/internal/mask"
)

// The values of dockless.builder.PLATFORM.
const (
	nativeBuild   = "native"
	emulatedBuild = "emulated"
)

// capabilities are what jobs may demand of this program and of what it works
// with (decision 19). A part that is not there has none.
func (w *workshop) capabilities(ctx context.Context, devices []string, log *slog.Logger) map[string]string {
	all := map[string]string{
		"dockless": version,
		// The platform of the steps: that of this program, in OCI's words, which
		// leave out the variant that every processor of an architecture has.
		"dockless.platform": platforms.Format(platforms.Normalize(platforms.DefaultSpec())),
	}
	if w.builder != nil {
		builderCapabilities(w.builder.Nodes, all)
	}
	if w.podman != nil {
		all["dockless.podman"] = w.podman.Version()
	}
	var gpus []string
	for _, kind := range cdi.Read(ctx, devices, log) {
		all["dockless.cdi."+kind.String()] = strings.Join(kind.Devices, ",")
		if strings.EqualFold(kind.Class, "gpu") {
			gpus = append(gpus, kind.String())
		}
	}
	if len(gpus) > 0 {
		all["dockless.gpu"] = strings.Join(gpus, ",")
	}
	return all
}

// builderCapabilities adds which platforms the nodes build for, and how.
func builderCapabilities(nodes []buildxsetup.Node, all map[string]string) {
	var names, versions []string
	for _, n := range nodes {
		for _, p := range n.Platforms {
			name := platforms.Format(platforms.Normalize(p))
			if !slices.Contains(names, name) {
				names = append(names, name)
				all["dockless.builder."+name] = emulatedBuild
			}
			if n.Native(p) {
				all["dockless.builder."+name] = nativeBuild
			}
		}
		for _, worker := range n.Workers {
			if worker.Version != "" && !slices.Contains(versions, worker.Version) {
				versions = append(versions, worker.Version)
			}
		}
	}
	if len(names) > 0 {
		all["dockless.builder.platforms"] = strings.Join(names, ",")
	}
	if len(versions) > 0 {
		all["dockless.buildkit"] = strings.Join(versions, ",") // several only while nodes are being updated
	}
}

// agentDeps are what every use of an agent is given. The environment is that
// without the secrets of the settings, and what is left of them in a value is
// masked.
func (s *agentSettings) agentDeps(log *slog.Logger) agent.Deps {
	secrets := mask.NewSet()
	for _, config := range s.all() {
		secrets.Add(settings.SecretValues(config)...)
	}
	hidden := settings.SecretNames(s.all()...)
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(hidden, name)
	})
	return agent.Deps{Log: log, Product: "dockless/" + version, Environment: environment, Mask: secrets.Mask}
}

// all are the structs that the environment fills.
func (s *agentSettings) all() []any {
	return []any{&s.Log, &s.Agent, &s.Entra, &s.Network, &s.Registries, &s.Build, &s.Podman, &s.Job, &s.Runner}
}

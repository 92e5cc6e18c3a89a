package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/mask"
)

func node(t *testing.T, version string, names ...string) buildxsetup.Node {
	t.Helper()
	var all []ocispecs.Platform
	for _, name := range names {
		p, err := platforms.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return buildxsetup.Node{Platforms: all, Workers: []buildxsetup.Worker{{Platforms: all, Version: version}}}
}

func TestABuildersPlatformsAreNativeWhenOneOfItsNodesIs(t *testing.T) {
	got := make(map[string]string)
	builderCapabilities([]buildxsetup.Node{
		node(t, "v0.34.2", "linux/amd64", "linux/amd64/v2", "linux/arm64"),
		node(t, "v0.34.2", "linux/arm64", "linux/riscv64"),
	}, got)
	want := map[string]string{
		"dockless.builder.platforms":      "linux/amd64,linux/amd64/v2,linux/arm64,linux/riscv64",
		"dockless.builder.linux/amd64":    "native",
		"dockless.builder.linux/amd64/v2": "native",
		"dockless.builder.linux/arm64":    "native",
		"dockless.builder.linux/riscv64":  "emulated",
		"dockless.buildkit":               "v0.34.2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
}

func TestAGPUIsACapability(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nvidia.yaml": "kind: nvidia.com/gpu\ndevices: [{name: all}, {name: \"0\"}]",
		"nic.json":    `{"kind":"vendor.example/nic","devices":[{"name":"eth1"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := (&workshop{}).capabilities(t.Context(), []string{dir}, slog.New(slog.DiscardHandler))
	if platform := got["dockless.platform"]; !strings.HasPrefix(platform, "linux/"+runtime.GOARCH) {
		t.Errorf("dockless.platform = %q, want that of this machine", platform)
	}
	delete(got, "dockless.platform")
	want := map[string]string{
		"dockless": version, "dockless.gpu": "nvidia.com/gpu",
		"dockless.cdi.nvidia.com/gpu": "0,all", "dockless.cdi.vendor.example/nic": "eth1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
}

func TestAnAgentIsGivenTheEnvironmentWithoutTheSettingsSecrets(t *testing.T) {
	t.Setenv("AZP_TOKEN", "hunter2-token")
	t.Setenv("AZP_TOKEN_FILE", "/run/secrets/azp")
	t.Setenv("REMARK", "it is hunter2-token")
	var s agentSettings
	s.Agent.Token = mask.NewSecret("hunter2-token")
	deps := s.agentDeps(slog.New(slog.DiscardHandler))
	var found bool
	for _, variable := range deps.Environment {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AZP_TOKEN") {
			t.Errorf("the environment has %s", name)
		}
		if name == "REMARK" {
			found = true
			if masked := deps.Mask(value); masked != "it is ***" {
				t.Errorf("Mask(%q) = %q, want the token hidden", value, masked)
			}
		}
	}
	if !found {
		t.Error("the environment lacks a variable that is no secret")
	}
}

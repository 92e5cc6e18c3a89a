package buildcmd

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

// update rewrites the configuration of deploy.
var update = flag.Bool("update", false, "rewrite golden files")

// The configuration of deploy, and the volume that it is for.
const (
	deployedConfig = "../../../../deploy/base/buildkitd.toml"
	deployedVolume = "../../../../deploy/base/buildkitd.yaml"
)

// TestTheDeployedConfigurationFitsItsVolume makes buildkitd.toml of deploy from
// the size of the claim beside it.
func TestTheDeployedConfigurationFitsItsVolume(t *testing.T) {
	manifest, err := os.ReadFile(deployedVolume)
	if err != nil {
		t.Fatal(err)
	}
	claim := regexp.MustCompile(`(?m)^ +storage: (\S+)$`).FindSubmatch(manifest)
	if claim == nil {
		t.Fatalf("%s claims no storage", deployedVolume)
	}
	var got bytes.Buffer
	cmd := newBuilderConfigCommand()
	cmd.SetOut(&got)
	cmd.SetArgs([]string{"--volume-size", string(claim[1]), "--rootless", "--plain-http", "registry:5000"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(deployedConfig, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(deployedConfig)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s is stale; its first line says how to make it, or run this test with -update (-file +made):\n%s", deployedConfig, diff)
	}
	size, err := buildkitconf.ParseSize(string(claim[1]))
	if err != nil {
		t.Fatal(err)
	}
	around := buildkitconf.Surroundings{Stat: func(string) (buildkitconf.Volume, error) { return buildkitconf.Volume{Size: size}, nil }}
	for _, f := range buildkitconf.Lint(string(want), around) {
		t.Errorf("%s:%d: %s", deployedConfig, f.Line, f.Text)
	}
}

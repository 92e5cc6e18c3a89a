package podmanrun_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun"
)

func TestValuesThatHaveNoEffectAreTold(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": `
services:
  a: {image: x, logging: {driver: syslog, options: {syslog-address: "udp://h:1"}}}
  b: {image: x, logging: {driver: json-file, options: {max-size: 10m, max-file: "3"}}}
  c: {image: x, deploy: {restart_policy: {condition: any, max_attempts: 3}}}
  d: {image: x, deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}, logging: {driver: none}}
`})
	p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Files: []string{"compose.yml"}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "compose.yml")
	want := []string{
		file + `:3:27: services.a.logging.driver is not used: logs are kept where "stack logs" finds them, not by syslog`,
		file + ":4:46: services.b.logging.options.max-file has no effect",
		file + ":5:59: services.c.deploy.restart_policy.max_attempts has no effect: Podman counts attempts with condition: on-failure only",
	}
	if diff := cmp.Diff(want, p.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestWhatABuildOrAPullCannotDoIsRefusedWhenTheFileIsRead(t *testing.T) {
	for name, c := range map[string]struct{ service, want string }{
		"a build from another service's image": {`{build: {context: ., additional_contexts: {base: "service:b"}}}`, "service a: build: additional_contexts: base is the image of service b"},
		"a build's isolation":                  {`{build: {context: ., isolation: x}}`, "services.a.build.isolation is not supported"},
	} {
		dir := write(t, map[string]string{"compose.yml": "services:\n  a: " + c.service + "\n  b: {image: y, build: .}\n"})
		_, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Files: []string{"compose.yml"}})
		if err == nil || !strings.Contains(err.Error(), "compose.yml:2:") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Load() = %v, want %q with its line", name, err, c.want)
		}
	}
}

package integration_test

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

// Podman draws a port when it makes a container, and listens there only from its start
// on: whoever comes in between must not fail a stack that asked for any port.
func TestAPortThatIsTakenAfterItWasDrawnIsDrawnAgain(t *testing.T) {
	mirror := rig.NeedImages(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})
	client := connectTo(t, engine)
	defer wantNoStackLeft(t, client)
	project := loadStack(t, `
name: drawn
services:
  gate: {image: busybox, command: sleep 10000, healthcheck: {test: test -e /open, interval: 100ms, retries: 600}}
  web:
    image: busybox
    command: httpd -f -p 80
    ports: ["127.0.0.1::80"]
    depends_on: {gate: {condition: service_healthy}}
`)
	type outcome struct {
		stack *podmanrun.Stack
		err   error
	}
	up := make(chan outcome, 1)
	go func() {
		stack, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: podmanrun.Owner{Agent: "integration", Job: "drawn"}, WaitTimeout: time.Minute})
		up <- outcome{stack, err}
	}()
	var drawn string
	eventually(t, "the container has a port", time.Minute, func() bool {
		out, err := engine.Command(t.Context(), "inspect", "--format", "{{json .HostConfig.PortBindings}}", "drawn-web-1").Output()
		var bindings map[string][]struct{ HostPort string }
		if err != nil || json.Unmarshal(out, &bindings) != nil || len(bindings["80/tcp"]) == 0 {
			return false
		}
		drawn = bindings["80/tcp"][0].HostPort
		return drawn != "" && drawn != "0"
	})
	other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:"+drawn)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close() //nolint:errcheck // of a test
	if out, err := engine.Command(t.Context(), "exec", "drawn-gate-1", "touch", "/open").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := <-up
	if got.err != nil {
		t.Fatal(got.err)
	}
	if port := got.stack.Environment()["DOCKLESS_WEB_PORT_80"]; port == "" || port == drawn {
		t.Errorf("the service is at port %q, want another than %s", port, drawn)
	}
	if err := client.Down(t.Context(), "drawn", podmanrun.DownOptions{Volumes: true, Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
}

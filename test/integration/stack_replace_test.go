package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun"
)

// stackOfHooks says in a volume which service was told that it will be stopped.
const stackOfHooks = `
name: farewell
x-all: &all
  image: busybox
  init: true
  volumes: ["said:/said"]
  command: sleep 1000
services:
  base:
    <<: *all
    command: sleep %
    pre_stop: [{command: ["sh", "-c", "echo base >> /said/hooks"]}]
  guest:
    <<: *all
    network_mode: service:base
    pre_stop: [{command: ["sh", "-c", "echo guest >> /said/hooks"]}]
  guest-of-guest:
    <<: *all
    init: false
    stop_grace_period: 1s
    pid: service:guest
    pre_stop: [{command: ["sh", "-c", "echo guest-of-guest >> /said/hooks"]}]
  silent:
    <<: *all
    network_mode: service:base
  behind:
    <<: *all
    init: false
    stop_grace_period: 1s
    pid: service:silent
    pre_stop: [{command: ["sh", "-c", "echo behind >> /said/hooks"]}]
  follower:
    <<: *all
    depends_on: {base: {condition: service_started, restart: true}}
    pre_stop: [{command: ["sh", "-c", "echo follower >> /said/hooks"]}]
volumes: {said: {}}
`

func TestAStackThatReplacesContainersRunsTheirHooksBefore(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	for _, length := range []string{"1000", "1001"} {
		if _, err := engineUp(t, client, strings.ReplaceAll(stackOfHooks, "%", length), nil); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Fields(stackExec(t, client, "farewell", "base", "sort /said/hooks"))
	if diff := cmp.Diff([]string{"base", "behind", "follower", "guest", "guest-of-guest"}, got); diff != "" {
		t.Errorf("hooks that ran before services were replaced and restarted (-want +got):\n%s", diff)
	}
	if err := client.Down(t.Context(), "farewell", podmanrun.DownOptions{Volumes: true, Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
}

func TestAStackThatReplacesAContainerGivesItTheTimeThatIsAskedFor(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	compose := `
name: stubborn
services:
  deaf: {image: busybox, stop_grace_period: 10m, command: sh -c "trap '' TERM; echo %; sleep 10000 & wait"}
`
	// A mistake shows as ten minutes, which the test does not wait for.
	for _, word := range []string{"first", "second"} {
		_, err := engineUp(t, client, strings.ReplaceAll(compose, "%", word), func(o *podmanrun.UpOptions) { o.Timeout = new(time.Second) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Down(t.Context(), "stubborn", podmanrun.DownOptions{Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
}

func TestAStackThatFailsRunsTheHooksOfWhatItStopsAgain(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	compose := `
name: again
services:
  kept:
    image: busybox
    init: true
    volumes: ["said:/said"]
    command: sleep 1000
    pre_stop: [{command: ["sh", "-c", "echo kept >> /said/hooks"]}]
`
	end := "volumes: {said: {}}\n"
	if _, err := engineUp(t, client, compose+end, nil); err != nil {
		t.Fatal(err)
	}
	o := podmanrun.ServicesOptions{Services: []string{"kept"}, Timeout: new(time.Duration)} // without grace there are no hooks
	if err := client.Stop(t.Context(), "again", o); err != nil {
		t.Fatal(err)
	}
	failing := compose + "  failing: {image: busybox, depends_on: [kept], init: true, command: sleep 1000, healthcheck: {test: 'false', interval: 1s, retries: 1}}\n" + end
	if _, err := engineUp(t, client, failing, nil); err == nil {
		t.Fatal("a stack with a service that fails came up")
	}
	if err := client.Start(t.Context(), "again", o); err != nil {
		t.Fatal(err)
	}
	if got := stackExec(t, client, "again", "kept", "cat /said/hooks"); got != "kept" {
		t.Errorf("hooks that ran = %q, want that of the service that was stopped again", got)
	}
	if err := client.Down(t.Context(), "again", podmanrun.DownOptions{Volumes: true, Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
}

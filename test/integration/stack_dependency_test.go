package integration_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

func TestAServiceThatNobodyRequiresOnlyWarnsWhenItFails(t *testing.T) {
	client := openStackClient(t)
	for name, cache := range map[string]string{
		"it ends":           `command: 'sh -c "echo boom; exit 3"', healthcheck: {test: "false", interval: 1s}`,
		"it has no image":   `image: "nobody/has-this:1"`,
		"it never gets fit": `init: true, command: sleep 1000, healthcheck: {test: "false", interval: 1s, retries: 1}`,
		"it cannot start":   `command: nosuchprogram, healthcheck: {test: "true"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(cache, "image:") {
				cache = "image: busybox, " + cache
			}
			project := loadStack(t, `
name: optional
services:
  cache: {`+cache+`}
  web:
    image: busybox
    init: true
    command: sleep 1000
    depends_on: {cache: {condition: service_healthy, required: false}}
`)
			var warnings, started []string
			stack, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute, Progress: func(e podmanrun.Event) {
				switch e.Kind {
				case podmanrun.EventWarning:
					warnings = append(warnings, e.Text)
				case podmanrun.EventStarted:
					started = append(started, e.Service)
				}
			}})
			if err != nil || !slices.Contains(started, "web") || stack.ContainerID("web") == "" {
				t.Fatalf("Up = %v, started %q; want web to be up", err, started)
			}
			if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "service cache: ") || !strings.HasSuffix(warnings[0], "; no service requires it") {
				t.Errorf("the warnings are %q, want one of cache", warnings)
			}
			stack.Environment() // of a service without a container, too
			if err := client.Down(t.Context(), "optional", podmanrun.DownOptions{Timeout: new(time.Duration)}); err != nil {
				t.Error(err)
			}
			wantNoStackLeft(t, client)
		})
	}
}

func TestARequiredDependencyIsNotOptionalForAnotherOne(t *testing.T) {
	client := openStackClient(t)
	project := loadStack(t, `
name: mixed
services:
  db: {image: busybox, command: "sh -c 'exit 3'", healthcheck: {test: "false", interval: 5s}}
  web: {image: busybox, command: sleep 1000, depends_on: {db: {condition: service_healthy, required: false}}}
  api: {image: busybox, command: sleep 1000, depends_on: {db: {condition: service_healthy}}}
`)
	_, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
	if failed, ok := errors.AsType[*podmanrun.ServiceError](err); !ok || failed.Service != "db" {
		t.Errorf("Up = %v, want the failure of db", err)
	}
	wantNoStackLeft(t, client)
}

func TestDependentsAreRestartedWhenTheirDependencyWasMadeAnew(t *testing.T) {
	client := openStackClient(t)
	up := func(command string) (stack *podmanrun.Stack, told []string) {
		t.Helper()
		project := loadStack(t, `
name: again
services:
  db: {image: busybox, init: true, command: `+command+`}
  web: {image: busybox, init: true, command: "sh -c 'echo hello; exec sleep 1000'", depends_on: {db: {condition: service_started, restart: true}}}
  log: {image: busybox, init: true, command: sleep 1000, depends_on: [db]}
`)
		stack, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute, Progress: func(e podmanrun.Event) {
			if slices.Contains([]podmanrun.EventKind{podmanrun.EventStarted, podmanrun.EventRestarted, podmanrun.EventKept}, e.Kind) {
				told = append(told, strings.TrimSpace(e.Service+" "+string(e.Kind)+" "+e.Text))
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(told)
		return stack, told
	}
	first, _ := up("sleep 1001")
	second, told := up("sleep 1002")
	if first.ContainerID("web") != second.ContainerID("web") || first.ContainerID("db") == second.ContainerID("db") {
		t.Error("want another container for db, and the same for web")
	}
	want := []string{"db started", "log kept", "web kept", "web restarted because db was started anew"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("what was told differs (-want +got):\n%s", diff)
	}
	wantStackLines(t, client, "again", "web", "hello", "hello")
	if _, told = up("sleep 1002"); !slices.Equal(told, []string{"db kept", "log kept", "web kept"}) {
		t.Errorf("with nothing changed: %q", told)
	}
	if err := client.Down(t.Context(), "again", podmanrun.DownOptions{}); err != nil {
		t.Error(err)
	}
	wantNoStackLeft(t, client)
}

// wantStackLines waits until a service has written these lines and no others.
func wantStackLines(t *testing.T, client *podmanrun.Client, project, service string, want ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second) // the shell has to get there
	for {
		var lines []string
		err := client.Logs(t.Context(), project, podmanrun.LogsOptions{Services: []string{service}}, func(_, line string) { lines = append(lines, line) })
		if err == nil && slices.Equal(lines, want) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%s of %s wrote %q, %v, want %q", service, project, lines, err, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestAVolumeThatOthersUseStaysAndIsToldWhose(t *testing.T) {
	client := openStackClient(t)
	up := func(text string) {
		t.Helper()
		if _, err := client.Up(t.Context(), loadStack(t, text), podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	up("name: owner\nservices:\n  a: {image: busybox, init: true, command: sleep 1000, volumes: ['data:/v']}\nvolumes: {data: {}}\n")
	up("name: guest\nservices:\n  b: {image: busybox, init: true, command: sleep 1000, volumes: ['data:/v'], networks: [n]}\n" +
		"volumes: {data: {external: true, name: owner_data}}\nnetworks: {n: {external: true, name: owner_default}}\n")
	err := client.Down(t.Context(), "owner", podmanrun.DownOptions{Volumes: true})
	for _, want := range []string{
		"volume owner_data is in use by container guest-b-1 (service b, project guest",
		"network owner_default is in use by container guest-b-1 (service b, project guest",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Down = %v, want %q", err, want)
		}
	}
	if len(hint.All(err)) == 0 {
		t.Error("there is no hint")
	}
	for _, project := range []string{"guest", "owner"} {
		if err := client.Down(t.Context(), project, podmanrun.DownOptions{Volumes: true}); err != nil {
			t.Error(err)
		}
	}
	wantNoStackLeft(t, client)
}

func TestAContainerThatIgnoresItsSignalDoesNotHoldDownBeyondItsGrace(t *testing.T) {
	client := openStackClient(t)
	project := loadStack(t, `
name: deaf
services:
  a: {image: busybox, command: "sh -c 'trap : TERM; while :; do sleep 1; done'", stop_grace_period: 2s}
  b: {image: busybox, command: "sh -c 'trap : TERM; while :; do sleep 1; done'", stop_grace_period: 2s}
  c: {image: busybox, command: "sh -c 'trap : TERM; while :; do sleep 1; done'", stop_grace_period: 2s}
`)
	if _, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := client.Down(context.WithoutCancel(t.Context()), "deaf", podmanrun.DownOptions{}); err != nil {
		t.Error(err)
	}
	// Two seconds of grace; the rest is what Podman takes for three containers on
	// a busy machine. One that nobody kills holds Down for a minute.
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("Down took %s with a grace period of 2s", took)
	}
	wantNoStackLeft(t, client)
}

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

// sameEverywhere is what ten jobs bring up at once: every kind of thing that could
// collide or be left behind. Podman's DNS server reads its files anew whenever a
// container of any job comes or goes, and knows a name a moment later only: once in
// some 300 starts, so web asks again.
const sameEverywhere = `
services:
  db:
    image: busybox
    init: true
    command: sh -c "echo here > /data/file; exec httpd -f -p 8080 -h /data"
    volumes: ["data:/data", /scratch]
    ports: ["127.0.0.1::8080"]
    healthcheck: {test: "wget -qO- http://127.0.0.1:8080/file", interval: 2s, retries: 30}
    post_start: [{command: ["touch", "/data/started"]}]
    pre_stop: [{command: ["touch", "/data/stopped"]}]
  web:
    image: busybox
    init: true
    command: sh -c "until wget -qO- http://db:8080/file; do sleep 0.2; done; exec sleep 1000"
    networks: [default, back]
    depends_on: {db: {condition: service_healthy}}
networks: {default: {}, back: {internal: true}}
volumes: {data: {}}
`

// parallelJobs is how many jobs share the Podman.
const parallelJobs = 10

func TestTenJobsWithTheSameFileShareAPodmanAndLeaveNothing(t *testing.T) {
	rounds := 2
	if text := os.Getenv("DOCKLESS_TEST_STACK_ROUNDS"); text != "" { // make stack-soak
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("DOCKLESS_TEST_STACK_ROUNDS: %v", err)
		}
		rounds = n
	}
	mirror := rig.NeedImages(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})
	client := connectTo(t, engine)
	file := filepath.Join(t.TempDir(), "compose.yml")
	if err := os.WriteFile(file, []byte(sameEverywhere), 0o600); err != nil {
		t.Fatal(err)
	}
	var up, down time.Duration
	for round := range rounds {
		start := time.Now()
		var mu sync.Mutex
		ports := make(map[string]string)
		g, ctx := errgroup.WithContext(t.Context())
		for job := range parallelJobs {
			name := fmt.Sprintf("same-%d", job)
			g.Go(func() error {
				project, err := podmanrun.Load(ctx, podmanrun.LoadOptions{Files: []string{file}, Name: name})
				if err != nil {
					return err
				}
				owner := podmanrun.Owner{Agent: "integration", Job: name}
				stack, err := client.Up(ctx, project, podmanrun.UpOptions{Owner: owner, WaitTimeout: 2 * time.Minute})
				if err != nil {
					return err
				}
				code, err := client.Exec(ctx, name, podmanrun.ExecOptions{Service: "db", Owner: owner, Command: []string{"test", "-f", "/data/started"}})
				if err != nil {
					return err
				}
				if code != 0 {
					return fmt.Errorf("what the hook of %s made is not there", name)
				}
				port := stack.Environment()["DOCKLESS_DB_PORT_8080"]
				mu.Lock()
				defer mu.Unlock()
				if other := ports[port]; other != "" {
					return fmt.Errorf("%s and %s share port %s", name, other, port)
				}
				ports[port] = name
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			if failed, ok := errors.AsType[*podmanrun.ServiceError](err); ok {
				t.Log(failed.Details())
			}
			t.Fatalf("round %d: %v", round, err)
		}
		up += time.Since(start)
		wantLastLine(t, client, "same-3", "web", "here") // what its own db says
		wantOneSubnetEach(t, engine)
		start = time.Now()
		var gone errgroup.Group
		for job := range parallelJobs {
			gone.Go(func() error {
				return client.Down(context.WithoutCancel(t.Context()), fmt.Sprintf("same-%d", job), podmanrun.DownOptions{Volumes: true})
			})
		}
		if err := gone.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		down += time.Since(start)
		wantNoStackLeft(t, client)
	}
	wantNothingLeft(t, engine)
	t.Logf("%d × %d projects of 2 containers, 2 networks and 2 volumes: up %s and down %s each round", rounds, parallelJobs,
		(up / time.Duration(rounds)).Round(10*time.Millisecond), (down / time.Duration(rounds)).Round(10*time.Millisecond))
}

func TestWhatADeadAgentLeftIsFoundAndRemovedWhileOthersRun(t *testing.T) {
	mirror := rig.NeedImages(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})
	file := filepath.Join(t.TempDir(), "compose.yml")
	if err := os.WriteFile(file, []byte(sameEverywhere), 0o600); err != nil {
		t.Fatal(err)
	}
	client := connectTo(t, engine)
	up := func(name string, owner podmanrun.Owner) {
		t.Helper()
		project, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{Files: []string{file}, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: owner, WaitTimeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	dead := podmanrun.Owner{Agent: "dead", Job: "1"}
	up("dead-1", dead)
	up("alive-1", podmanrun.Owner{Agent: "alive", Job: "1"})
	// The next start of the same agent has nothing but its name.
	removed, err := client.RemoveOwned(t.Context(), podmanrun.Owner{Agent: "dead"})
	if err != nil || len(removed.Containers) != 2 || len(removed.Networks) != 2 || len(removed.Volumes) != 1 {
		t.Errorf("RemoveOwned = %+v, %v, want 2 containers, 2 networks and a volume", removed, err)
	}
	statuses, err := client.Ps(t.Context(), "alive-1")
	if err != nil || len(statuses) != 2 || statuses[0].Health != "healthy" {
		t.Errorf("the other agent's stack is %+v, %v", statuses, err)
	}
	if _, err := client.RemoveOwned(t.Context(), podmanrun.Owner{Agent: "alive"}); err != nil {
		t.Error(err)
	}
	wantNothingLeft(t, engine)
}

// wantLastLine waits until the last line that a service wrote is this one.
func wantLastLine(t *testing.T, client *podmanrun.Client, project, service, want string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(20 * time.Second); last != want; time.Sleep(50 * time.Millisecond) {
		err := client.Logs(t.Context(), project, podmanrun.LogsOptions{Services: []string{service}, Tail: 1}, func(_, line string) { last = line })
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the last line of %s of %s is %q, %v, want %q", service, project, last, err, want)
		}
	}
}

// wantOneSubnetEach fails the test when two networks of a Podman overlap.
func wantOneSubnetEach(t *testing.T, engine *rig.Podman) {
	t.Helper()
	out, err := engine.Command(t.Context(), "network", "ls", "--quiet").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(out))
	out, err = engine.Command(t.Context(), append([]string{"network", "inspect", "--format", "{{range .Subnets}}{{.Subnet}} {{end}}"}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for subnet := range strings.FieldsSeq(string(out)) {
		if seen[subnet] {
			t.Errorf("two networks have the subnet %s", subnet)
		}
		seen[subnet] = true
	}
	if len(seen) < 2*parallelJobs {
		t.Errorf("there are %d subnets, want two for each of %d projects", len(seen), parallelJobs)
	}
}

// wantNothingLeft fails the test when a Podman has anything but its own network, or
// the machine anything of its containers.
func wantNothingLeft(t *testing.T, engine *rig.Podman) {
	t.Helper()
	for _, command := range [][]string{{"ps", "--all", "--quiet"}, {"volume", "ls", "--quiet"}, {"pod", "ls", "--quiet"}} {
		out, err := engine.Command(t.Context(), command...).Output()
		if err != nil || strings.TrimSpace(string(out)) != "" {
			t.Errorf("podman %s = %q, %v, want nothing", strings.Join(command, " "), out, err)
		}
	}
	out, err := engine.Command(t.Context(), "network", "ls", "--format", "{{.Name}}").Output()
	if err != nil || strings.TrimSpace(string(out)) != "podman" {
		t.Errorf("podman network ls = %q, %v, want Podman's own", out, err)
	}
	// conmon and the DNS server end by themselves, the conmons of commands 15 s after these.
	deadline := time.Now().Add(2 * time.Minute)
	for {
		left, err := engine.Leftovers()
		if err != nil {
			t.Fatal(err)
		}
		if left.Empty() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left on this machine: %+v, want nothing", left)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

package integration_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

// openStackClient starts Podman with the base images and connects to it.
func openStackClient(t *testing.T) *podmanrun.Client {
	t.Helper()
	mirror := rig.NeedImages(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})
	client, err := podmanrun.Open(t.Context(), podmanrun.Config{Host: engine.Addr(), Program: "podman", ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return client
}

// loadStack reads a compose project from its text.
func loadStack(t *testing.T, compose string) *podmanrun.Project {
	t.Helper()
	file := filepath.Join(t.TempDir(), "compose.yml")
	if err := os.WriteFile(file, []byte(compose), 0o600); err != nil {
		t.Fatal(err)
	}
	project, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// stackOwner is whom the stacks of these tests belong to.
func stackOwner(t *testing.T) podmanrun.Owner {
	t.Helper()
	return podmanrun.Owner{Agent: "integration", Job: strings.ToLower(t.Name())}
}

// wantNoStackLeft fails the test when the owner has anything left, and removes it.
func wantNoStackLeft(t *testing.T, client *podmanrun.Client) {
	t.Helper()
	left, err := client.RemoveOwned(context.WithoutCancel(t.Context()), podmanrun.Owner{Agent: "integration"})
	if err != nil {
		t.Errorf("looking for leftovers: %v", err)
	}
	if !left.Empty() {
		t.Errorf("left behind: %+v, want nothing", left)
	}
}

const threeServices = `
name: three
services:
  db:
    image: busybox
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 1; touch /tmp/ok; echo ready; sleep 1000 & wait"]
    healthcheck: {test: "echo looking; test -f /tmp/ok", interval: 10s, retries: 3}
    volumes: ["data:/data"]
    networks: {default: {aliases: [mysql]}}
  migrate:
    image: busybox
    command: sh -c "until nslookup mysql; do sleep 0.2; done; touch /data/migrated && echo done"
    volumes: ["data:/data"]
    depends_on: {db: {condition: service_healthy}}
  web:
    image: busybox
    init: true
    command: sh -c "test -f /data/migrated && echo hello > /tmp/index.html && exec httpd -f -p 8080 -h /tmp"
    volumes: ["data:/data"]
    ports: ["127.0.0.1::8080"]
    healthcheck: {test: wget -qO- http://127.0.0.1:8080/, interval: 2s, retries: 20}
    depends_on: {migrate: {condition: service_completed_successfully}}
volumes: {data: {}}
`

func TestAStackComesUpInTheOrderOfItsDependencies(t *testing.T) {
	client, project := openStackClient(t), loadStack(t, threeServices)
	var order []string
	up := func(command string) *podmanrun.Stack {
		t.Helper()
		stack, err := client.Up(t.Context(), project, podmanrun.UpOptions{
			Owner: stackOwner(t), WaitTimeout: time.Minute,
			Progress: func(e podmanrun.Event) {
				if slices.Contains([]podmanrun.EventKind{podmanrun.EventStarted, podmanrun.EventHealthy, podmanrun.EventKept, podmanrun.EventExited}, e.Kind) {
					order = append(order, e.Service+" "+string(e.Kind)+e.Text)
				}
			},
		})
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return stack
	}
	stack := up("the first Up")
	if diff := cmp.Diff([]string{"db started", "db healthy", "migrate started", "migrate exited0", "web started", "web healthy"}, order); diff != "" {
		t.Errorf("the order differs (-want +got):\n%s", diff)
	}
	env := stack.Environment()
	address := net.JoinHostPort(env["DOCKLESS_WEB_HOST"], env["DOCKLESS_WEB_PORT_8080"])
	if got := stackFetch(t, "http://"+address+"/"); got != "hello\n" {
		t.Errorf("GET %s = %q, want %q", address, got, "hello\n")
	}

	statuses, err := client.Ps(t.Context(), "three")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range statuses {
		got = append(got, strings.TrimSpace(s.Service+" "+s.State+" "+s.Health))
	}
	if diff := cmp.Diff([]string{"db running healthy", "migrate exited", "web running healthy"}, got); diff != "" {
		t.Errorf("Ps differs (-want +got):\n%s", diff)
	}
	var lines []string
	err = client.Logs(t.Context(), "three", podmanrun.LogsOptions{Services: []string{"db"}, Tail: 1}, func(service, line string) {
		lines = append(lines, service+": "+line)
	})
	if diff := cmp.Diff([]string{"db: ready"}, lines); err != nil || diff != "" {
		t.Errorf("Logs = %v, lines differ (-want +got):\n%s", err, diff)
	}

	db, web := stack.ContainerID("db"), stack.ContainerID("web")
	order = nil
	again := up("the second Up")
	if again.ContainerID("db") != db || again.ContainerID("web") != web {
		t.Error("the second Up has replaced unchanged containers")
	}
	if err := client.Down(t.Context(), "three", podmanrun.DownOptions{Volumes: true}); err != nil {
		t.Fatal(err)
	}
	if err := client.Down(t.Context(), "three", podmanrun.DownOptions{Volumes: true}); err != nil {
		t.Errorf("Down of a stack that is gone: %v", err)
	}
	wantNoStackLeft(t, client)
}

func TestAChangedServiceIsReplaced(t *testing.T) {
	client := openStackClient(t)
	up := func(command string) *podmanrun.Stack {
		t.Helper()
		project := loadStack(t, "name: change\nservices:\n  a: {image: busybox, init: true, command: sleep 1000}\n  b: {image: busybox, init: true, command: "+command+"}\n")
		stack, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return stack
	}
	first, second := up("sleep 1001"), up("sleep 1002")
	if first.ContainerID("a") != second.ContainerID("a") {
		t.Error("the unchanged service was replaced")
	}
	if first.ContainerID("b") == second.ContainerID("b") {
		t.Error("the changed service was kept")
	}
	if err := client.Down(t.Context(), "change", podmanrun.DownOptions{}); err != nil {
		t.Fatal(err)
	}
	wantNoStackLeft(t, client)
}

func TestAFailedStackSaysWhichServiceAndWhyAndLeavesNothing(t *testing.T) {
	client := openStackClient(t)
	for name, c := range map[string]struct {
		db   string // the service everything waits for
		want string
		code int
		logs []string
		poor string // part of the last healthcheck's output
	}{
		"dies": {
			`command: 'sh -c "echo starting; sleep 0.3; echo boom >&2; exit 3"', healthcheck: {test: "false", interval: 1s}`,
			"service db: the container ended with exit code 3 before it was healthy (web waits for api waits for db)", 3,
			[]string{"starting", "boom"},
			"",
		},
		"ends well too early": {
			`command: "true", healthcheck: {test: "false", interval: 1s}`,
			"service db: the container ended with exit code 0 before it was healthy (web waits for api waits for db)", 0, nil, "",
		},
		"never turns healthy": {
			`command: sleep 1000, healthcheck: {test: "echo not yet; false", interval: 1s, retries: 2}`,
			"service db: unhealthy: the healthcheck failed for ", 0, nil, "not yet",
		},
		"has a check that hangs": {
			`command: sleep 1000, healthcheck: {test: "sleep 100", interval: 1s, timeout: 500ms, retries: 1}`,
			"service db: unhealthy: the healthcheck failed for ", 0, nil, "",
		},
		"has no healthcheck": {
			`command: sleep 1000`, "service api: it waits for db to be healthy, but db has no healthcheck (web waits for api)", 0, nil, "",
		},
		"has no such program": {
			`command: nosuchprogram, healthcheck: {test: "true"}`, "nosuchprogram", 0, nil, "",
		},
		"has an image nobody has": {
			`image: "nobody/has-this:1"`, "service db: pulling docker.io/nobody/has-this:1: ", 0, nil, "",
		},
		"is not built": {
			`build: .`, "service db: image lost-db is not in Podman's storage and was not built", 0, nil, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := c.db
			if !strings.Contains(db, "image:") && !strings.Contains(db, "build:") {
				db = "image: busybox, " + db
			}
			project := loadStack(t, fmt.Sprintf(`
name: lost
services:
  db: {%s, volumes: ["data:/data"]}
  api: {image: busybox, command: sleep 1000, depends_on: {db: {condition: service_healthy}}}
  web: {image: busybox, command: sleep 1000, depends_on: [api]}
volumes: {data: {}}
`, db))
			_, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
			failed, ok := errors.AsType[*podmanrun.ServiceError](err)
			if !ok || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Up = %v, want a *ServiceError with %q", err, c.want)
			}
			if failed.Code != c.code {
				t.Errorf("exit code = %d, want %d", failed.Code, c.code)
			}
			if diff := cmp.Diff(c.logs, failed.Logs); diff != "" {
				t.Errorf("last lines differ (-want +got):\n%s", diff)
			}
			if !strings.Contains(failed.Health, c.poor) {
				t.Errorf("last healthcheck = %q, want it to contain %q", failed.Health, c.poor)
			}
			wantNoStackLeft(t, client)
		})
	}
}

func TestAStackThatTakesTooLongSaysWhichService(t *testing.T) {
	client := openStackClient(t)
	project := loadStack(t, `
name: slow
services:
  db: {image: busybox, command: sleep 1000, healthcheck: {test: "false", interval: 30s}}
  web: {image: busybox, command: sleep 1000, depends_on: {db: {condition: service_healthy}}}
`)
	_, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: 10 * time.Second})
	want := "service db: it was not healthy within 10s"
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "(web waits for db)") {
		t.Errorf("Up = %v, want %q", err, want)
	}
	wantNoStackLeft(t, client)
}

func TestACanceledStackLeavesNothing(t *testing.T) {
	client := openStackClient(t)
	project := loadStack(t, threeServices)
	if _, err := client.Up(t.Context(), loadStack(t, "name: warm\nservices: {a: {image: busybox, command: 'true'}}\n"), podmanrun.UpOptions{Owner: stackOwner(t)}); err != nil {
		t.Fatal(err)
	}
	if err := client.Down(t.Context(), "warm", podmanrun.DownOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []podmanrun.EventKind{podmanrun.EventPulled, podmanrun.EventCreated, podmanrun.EventStarted, podmanrun.EventHealthy} {
		t.Run("after the first "+string(kind), func(t *testing.T) {
			stop := errors.New("told to stop")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			_, err := client.Up(ctx, project, podmanrun.UpOptions{Owner: stackOwner(t), Progress: func(e podmanrun.Event) {
				if e.Kind == kind {
					cancel(stop)
				}
			}})
			if !errors.Is(err, stop) {
				t.Errorf("Up = %v, want %v", err, stop)
			}
			wantNoStackLeft(t, client)
		})
	}
}

func TestOnlyWhatAnOwnerLeftIsRemoved(t *testing.T) {
	client := openStackClient(t)
	up := func(project string, o podmanrun.Owner) {
		t.Helper()
		p := loadStack(t, "name: "+project+"\nservices: {a: {image: busybox, command: sleep 1000, volumes: ['data:/data']}}\nvolumes: {data: {}}\n")
		if _, err := client.Up(t.Context(), p, podmanrun.UpOptions{Owner: o}); err != nil {
			t.Fatal(err)
		}
	}
	up("one", podmanrun.Owner{Agent: "integration", Job: "1"})
	up("two", podmanrun.Owner{Agent: "integration", Job: "2"})
	up("other", podmanrun.Owner{Agent: "other", Job: "1"})

	removed, err := client.RemoveOwned(t.Context(), podmanrun.Owner{Agent: "integration", Job: "1"})
	want := podmanrun.Removed{Containers: []string{"one-a-1"}, Networks: []string{"one_default"}, Volumes: []string{"one_data"}}
	if diff := cmp.Diff(want, removed); err != nil || diff != "" {
		t.Errorf("RemoveOwned = %v, differs (-want +got):\n%s", err, diff)
	}
	removed, err = client.RemoveOwned(t.Context(), podmanrun.Owner{Agent: "integration"})
	want = podmanrun.Removed{Containers: []string{"two-a-1"}, Networks: []string{"two_default"}, Volumes: []string{"two_data"}}
	if diff := cmp.Diff(want, removed); err != nil || diff != "" {
		t.Errorf("RemoveOwned of all jobs = %v, differs (-want +got):\n%s", err, diff)
	}
	if statuses, err := client.Ps(t.Context(), "other"); err != nil || len(statuses) != 1 {
		t.Errorf("Ps of another agent's stack = %v, %v; want its container", statuses, err)
	}
	if _, err := client.RemoveOwned(t.Context(), podmanrun.Owner{}); err == nil {
		t.Error("RemoveOwned of nobody succeeded, want an error")
	}
}

func TestAWatchedStackTellsWhenAServiceTurns(t *testing.T) {
	client := openStackClient(t)
	project := loadStack(t, `
name: watched
services:
  sick: {image: busybox, init: true, command: sh -c "touch /tmp/ok; sleep 1000", healthcheck: {test: "test -f /tmp/ok", interval: 500ms, retries: 2}}
  brief: {image: busybox, command: sh -c "until test -e /tmp/go; do sleep 0.2; done; exit 7"}
`)
	stack, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	stackExec(t, client, "watched", "brief", "touch /tmp/go")
	stackExec(t, client, "watched", "sick", "rm /tmp/ok")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []podmanrun.Event
	stack.Watch(ctx, func(e podmanrun.Event) {
		if got = append(got, e); len(got) == 2 {
			cancel()
		}
	})
	slices.SortFunc(got, func(a, b podmanrun.Event) int { return strings.Compare(a.Service, b.Service) })
	want := []podmanrun.Event{{Service: "brief", Kind: podmanrun.EventExited, Text: "7"}, {Service: "sick", Kind: podmanrun.EventUnhealthy}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	if err := client.Down(t.Context(), "watched", podmanrun.DownOptions{}); err != nil {
		t.Fatal(err)
	}
	wantNoStackLeft(t, client)
}

func TestImagesArePulledWithTheCredentialsOfTheDockerConfiguration(t *testing.T) {
	images, err := rig.ImagesDir()
	if err != nil {
		t.Fatal(err)
	}
	registry := rig.NeedRegistry(t, rig.RegistryOptions{Dir: filepath.Join(images, "store"), ReadOnly: true, User: "me", Password: "secret"})
	engine := rig.NeedPodman(t, rig.PodmanOptions{Insecure: []string{registry.Addr()}})
	client, err := podmanrun.Open(t.Context(), podmanrun.Config{Host: engine.Addr(), Program: "podman", ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	dockerConfig := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	file := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, registry.Addr(), auth)
	if err := os.WriteFile(filepath.Join(dockerConfig, "config.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	project := loadStack(t, "name: private\nservices: {a: {image: "+registry.Addr()+"/library/busybox, init: true, command: sleep 1000}}\n")

	_, err = client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "service a: pulling "+registry.Addr()) {
		t.Errorf("Up without credentials = %v, want a refused pull", err)
	}
	if hints := hint.All(err); len(hints) != 1 || !strings.Contains(hints[0], "log in to "+registry.Addr()) {
		t.Errorf("hints = %q, want one that says to log in", hints)
	}
	if _, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute, DockerConfig: dockerConfig}); err != nil {
		t.Errorf("Up with credentials = %v, want nil", err)
	}
	if err := client.Down(t.Context(), "private", podmanrun.DownOptions{}); err != nil {
		t.Fatal(err)
	}
	wantNoStackLeft(t, client)
}

func TestWithoutASettingAServiceIsFoundOrStarted(t *testing.T) {
	engine := rig.NeedPodman(t, rig.PodmanOptions{})
	// A program that is podman with the state of the rig.
	script := "#!/bin/sh\n"
	like := engine.Command(t.Context())
	for _, kv := range like.Env {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "CONTAINERS_") {
			script += fmt.Sprintf("export %s='%s'\n", name, value)
		}
	}
	script += "exec " + like.Path + ` "$@"` + "\n"
	program := filepath.Join(t.TempDir(), "podman")
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	runtime, err := os.MkdirTemp("", "dl-run-") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })

	client, err := podmanrun.Open(t.Context(), podmanrun.Config{RuntimeDir: runtime, Program: program, ConnectTimeout: 20 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if exists, err := client.ImageExists(t.Context(), "nobody/has-this:1"); exists || err != nil {
		t.Errorf("ImageExists = %t, %v; want false", exists, err)
	}
	out, err := engine.Command(t.Context(), "version", "--format", "{{.Client.Version}}").Output()
	if want := strings.TrimSpace(string(out)); err != nil || client.Version() != want {
		t.Errorf("Version = %q, want podman's own %q (%v)", client.Version(), want, err)
	}
	if err := client.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if left, err := os.ReadDir(runtime); err != nil || len(left) != 0 {
		t.Errorf("after Close the runtime directory holds %v, %v; want nothing", left, err)
	}
}

func TestTheServicesOfAJobRunAsAStack(t *testing.T) {
	client := openStackClient(t)
	project, err := podmanrun.Services("Job 7", map[string]podmanrun.Service{
		"db": {
			Image: "mysql:8", Env: map[string]string{"MYSQL_ROOT_PASSWORD": "example", "MYSQL_DATABASE": "shop"}, Ports: []string{"127.0.0.1::3306"},
			Options: `--health-cmd "mysqladmin ping -h 127.0.0.1 -uroot -pexample" --health-interval 2s --health-retries 90`,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	stack, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: 3 * time.Minute})
	if err != nil {
		t.Fatalf("%v\n%s", err, stackDetails(err))
	}
	env := stack.Environment()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(env["DOCKLESS_DB_HOST"], env["DOCKLESS_DB_PORT_3306"]))
	if err != nil {
		t.Errorf("connecting to the healthy database: %v", err)
	} else if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := client.Down(t.Context(), stack.Project(), podmanrun.DownOptions{Volumes: true}); err != nil {
		t.Fatal(err)
	}
	wantNoStackLeft(t, client)
}

// stackFetch returns the body of a page of a service that may still be starting.
func stackFetch(t *testing.T, url string) string {
	t.Helper()
	var body []byte
	eventually(t, "GET "+url+" is answered", 20*time.Second, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		body, err = io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return string(body)
}

// stackDetails returns the last words of the service behind err.
func stackDetails(err error) string {
	if failed, ok := errors.AsType[*podmanrun.ServiceError](err); ok {
		return failed.Details()
	}
	return ""
}

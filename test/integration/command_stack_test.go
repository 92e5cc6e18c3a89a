package integration_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/test/stage"
)

func TestTheStackCommandsRunAComposeFile(t *testing.T) {
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	dir := t.TempDir()
	writeFile(t, dir, "compose.yml", threeServices)
	environment := filepath.Join(dir, "stack.env")
	stack := func(args ...string) finished {
		t.Helper()
		return s.typed(t, "typed", dir, nil, append([]string{"stack"}, args...)...)
	}

	up := stack("up", "--export-env", environment).want(t, 0)
	if !strings.HasPrefix(up.stdout, "stack three is up after ") {
		t.Errorf("stdout of up = %q", up.stdout)
	}
	for _, service := range []string{"db", "migrate", "web"} {
		if !strings.Contains(up.stderr, service) {
			t.Errorf("the progress does not name %s:\n%s", service, up.stderr)
		}
	}
	// What a script step does with the file.
	script := `. "$1" && wget -qO- "http://$DOCKLESS_WEB_HOST:$DOCKLESS_WEB_PORT_8080/" 2>/dev/null || {
	. "$1" && exec 3<>"/dev/tcp/$DOCKLESS_WEB_HOST/$DOCKLESS_WEB_PORT_8080" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3; }`
	if out, err := exec.CommandContext(t.Context(), "bash", "-c", script, "bash", environment).CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "hello\n") {
		t.Errorf("fetching the page with the exported environment = %v, %q", err, out)
	}

	var list []struct{ Service, State, Health string }
	if err := json.Unmarshal([]byte(stack("ps", "--format", "json").want(t, 0).stdout), &list); err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, c := range list {
		states = append(states, strings.TrimSpace(c.Service+" "+c.State+" "+c.Health))
	}
	if diff := cmp.Diff([]string{"db running healthy", "migrate exited", "web running healthy"}, states); diff != "" {
		t.Errorf("stack ps (-want +got):\n%s", diff)
	}
	table := stack("ps").want(t, 0).stdout
	if !strings.Contains(table, "exited (0)") || !strings.Contains(table, "->8080/tcp") {
		t.Errorf("stack ps:\n%s\nwant the exit code of migrate and the port of web", table)
	}
	if logs := stack("logs", "db").want(t, 0).stdout; !strings.Contains(logs, "ready") || strings.Contains(logs, "migrate") {
		t.Errorf("stack logs db:\n%s", logs)
	}

	stack("down").want(t, 0)
	if left := containersOf(t, s); !slices.Equal(left, []string{"volume three_data"}) {
		t.Errorf("left behind by down: %q, want only the named volume", left)
	}
	stack("down", "--volumes").want(t, 0)
	if left := containersOf(t, s); len(left) != 0 {
		t.Errorf("left behind by down --volumes: %q", left)
	}
}

func TestAStackThatFailsNamesTheServiceAndLeavesNothing(t *testing.T) {
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	for name, c := range map[string]struct {
		compose string
		words   []string // of the error line
		shown   string   // of the service's last words
	}{
		"a service that dies": {`
name: dies
services:
  db: {image: busybox, command: 'sh -c "echo no such table; exit 3"', healthcheck: {test: "true", interval: 1s}}
  web: {image: busybox, command: sleep 1000, depends_on: {db: {condition: service_healthy}}}
`, []string{"service db", "3", "web waits for db"}, "no such table"},
		"a service that stays sick": {`
name: sick
services:
  db: {image: busybox, init: true, command: sleep 1000, volumes: ["data:/data"], healthcheck: {test: "echo still empty; false", interval: 200ms, retries: 2}}
volumes: {data: {}}
`, []string{"service db", "healthy"}, "still empty"},
		"an image that is not there": {`
name: unknown
services:
  db: {image: "nobody/has-this:1"}
`, []string{"service db", "nobody/has-this:1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeFile(t, t.TempDir(), "compose.yml", c.compose)
			f := s.typed(t, "typed", "", nil, "stack", "up", "-f", file).want(t, 1)
			f.wantError(t, "", c.words...)
			if !strings.Contains(f.stderr, c.shown) {
				t.Errorf("the service's own words %q are not shown:\n%s", c.shown, f.stderr)
			}
			if left := containersOf(t, s); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestSIGTERMInTheMiddleOfAStackRemovesAllOfIt(t *testing.T) {
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	file := writeFile(t, t.TempDir(), "compose.yml", "name: slow\n"+slowStack)
	running := func() bool {
		return strings.Count(strings.Join(containersOf(t, s), " "), "container") == 2
	}
	f := s.interrupted(t, syscall.SIGTERM, "both containers are there", running, "typed", "", nil, "stack", "up", "-f", file).want(t, 130)
	f.wantError(t, "", "signal")
	if left := containersOf(t, s); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestAStackThatWasKilledIsRemovedByDown(t *testing.T) {
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	file := writeFile(t, t.TempDir(), "compose.yml", "name: slow\n"+slowStack)
	running := func() bool {
		return strings.Count(strings.Join(containersOf(t, s), " "), "container") == 2
	}
	s.interrupted(t, syscall.SIGKILL, "both containers are there", running, "typed", "", nil, "stack", "up", "-f", file)
	if left := containersOf(t, s); len(left) == 0 {
		t.Fatal("nothing was left behind, so the test shows nothing")
	}
	// The name is enough: the file may be gone with the job's workspace.
	s.typed(t, "typed", "", nil, "stack", "down", "-p", "slow", "--volumes").want(t, 0)
	if left := containersOf(t, s); len(left) != 0 {
		t.Errorf("left behind by down: %q", left)
	}
}

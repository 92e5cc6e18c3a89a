package integration_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/dockless-ci/dockless/test/stage"
)

// pairOfServices says what happens to it on its standard output.
const pairOfServices = `
name: pair
services:
  db:
    image: busybox
    init: true
    command: sh -c "echo db is up; touch /tmp/ok; sleep 1000"
    healthcheck: {test: "test -f /tmp/ok", interval: 5s}
    volumes: ["data:/data"]
  web:
    image: busybox
    command: ["sh", "-c", "trap 'echo web goes; exit 0' TERM; echo web is up; mkdir -p /www; echo $$GREETING > /www/index.html; httpd -f -p 8080 -h /www & wait"]
    environment: {GREETING: "${GREETING:-hello}"}
    ports: ["127.0.0.1::8080"]
    depends_on: {db: {condition: service_healthy, restart: true}}
  noise:
    image: busybox
    init: true
    attach: false
    restart: always
    command: sh -c "while :; do echo noise; sleep 0.2; done"
volumes: {data: {}}
`

// syncBuffer is read while a command writes to it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// stackCommands types stack commands for one compose file.
type stackCommands struct {
	testStage
	t   *testing.T
	dir string
	env []string
}

func openStackCommands(t *testing.T, compose string) stackCommands {
	t.Helper()
	s := stackCommands{testStage: openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true}), t: t, dir: t.TempDir()}
	writeFile(t, s.dir, "compose.yml", compose)
	return s
}

func (s stackCommands) stack(args ...string) finished {
	s.t.Helper()
	return s.typed(s.t, "typed", s.dir, s.env, append([]string{"stack"}, args...)...)
}

// fed is stack with a standard input.
func (s stackCommands) fed(input string, args ...string) finished {
	s.t.Helper()
	cmd := s.command(s.t, "typed", s.dir, s.env, append([]string{"stack"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	return end(s.t, cmd.Run, cmd, &stdout, &stderr)
}

// running is a command that was started and goes on.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr *syncBuffer
}

// begun starts a command.
func (s stackCommands) begun(args ...string) *running {
	s.t.Helper()
	r := &running{cmd: s.command(s.t, "typed", s.dir, s.env, append([]string{"stack"}, args...)...), stdout: &syncBuffer{}, stderr: &syncBuffer{}}
	r.cmd.Stdout, r.cmd.Stderr = r.stdout, r.stderr
	if err := r.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	return r
}

func (r *running) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (r *running) end(t *testing.T) finished {
	t.Helper()
	if err := r.cmd.Wait(); err != nil && r.cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return finished{code: r.cmd.ProcessState.ExitCode(), stdout: r.stdout.String(), stderr: r.stderr.String()}
}

// ids are the containers by service and replica, with what they are in.
func (s stackCommands) ids() (ids, states map[string]string) {
	s.t.Helper()
	var list []struct {
		Name, ID, State string
	}
	if err := json.Unmarshal([]byte(s.stack("ps", "--format", "json").want(s.t, 0).stdout), &list); err != nil {
		s.t.Fatal(err)
	}
	ids, states = make(map[string]string), make(map[string]string)
	for _, c := range list {
		ids[c.Name], states[c.Name] = c.ID, c.State
	}
	return ids, states
}

// down ends the test's stack and fails the test when anything is left.
func (s stackCommands) down() {
	s.t.Helper()
	s.stack("down", "-v", "-t", "2").want(s.t, 0)
	if left := containersOf(s.t, s.testStage); len(left) != 0 {
		s.t.Errorf("left behind by down: %q", left)
	}
}

// ownersOf are the agents and jobs of all containers, networks and volumes of
// projects, by kind and name.
func (s stackCommands) ownersOf() map[string]string {
	s.t.Helper()
	found := make(map[string]string)
	for _, thing := range containersOf(s.t, s.testStage) {
		kind, name, _ := strings.Cut(thing, " ")
		labels := ".Labels"
		if kind == "container" {
			labels = ".Config.Labels"
		}
		out, err := s.Podman.Command(s.t.Context(), kind, "inspect", "--format", `{{index `+labels+` "io.dockless.agent"}} {{index `+labels+` "io.dockless.job"}}`, name).Output()
		if err != nil {
			s.t.Fatalf("inspecting %s: %v", thing, err)
		}
		found[thing] = strings.TrimSpace(string(out))
	}
	return found
}

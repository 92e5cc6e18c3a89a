package integration_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun"
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

func TestExecRunsACommandInAService(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.stack("up", "-q").want(t, 0)
	defer s.down()

	f := s.stack("exec", "-T", "-e", "WHAT=this", "-u", "1000", "-w", "/tmp", "web", "sh", "-c", "echo $WHAT $(id -u) $(pwd); echo trouble >&2; exit 7").want(t, 7)
	if f.stdout != "this 1000 /tmp\n" || f.stderr != "trouble\n" {
		t.Errorf("stdout and stderr = %q and %q", f.stdout, f.stderr)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	if f := s.fed(big, "exec", "db", "cat").want(t, 0); f.stdout != big {
		t.Errorf("of %d bytes of input, %d came back", len(big), len(f.stdout))
	}
	s.stack("exec", "db", "no-such-program").want(t, 127)
	s.stack("exec", "--index", "2", "db", "true").want(t, 1).wantError(t, "", "container 2")
	s.stack("exec", "nobody", "true").want(t, 1).wantError(t, "stack up", "nobody")
	s.stack("exec", "-d", "db", "touch", "/tmp/detached").want(t, 0)
	eventually(t, "the detached command has run", 10*time.Second, func() bool { return s.stack("exec", "db", "test", "-f", "/tmp/detached").code == 0 })

	// Whoever interrupts exec does not leave the command behind.
	r := s.begun("exec", "-T", "db", "sh", "-c", "trap '' TERM; echo there; sleep 1002 & wait; sleep 1003")
	eventually(t, "the command runs", 20*time.Second, func() bool { return r.stdout.String() == "there\n" })
	r.signal(t, syscall.SIGINT)
	r.end(t).want(t, 130)
	if out := s.stack("exec", "db", "ps").want(t, 0).stdout; strings.Contains(out, "sleep 100") && (strings.Contains(out, "1002") || strings.Contains(out, "1003")) {
		t.Errorf("the command goes on:\n%s", out)
	}
}

func TestRunPassesTheExitCodeAndLeavesNothing(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	f := s.fed("from outside", "run", "--rm", "-e", "WHAT=this", "-v", "./mine:/mine", "-v", "more:/more", "--entrypoint", "sh -c", "web", "cat; echo $WHAT; ls /mine; exit 5")
	f.want(t, 5)
	if f.stdout != "from outsidethis\n" {
		t.Errorf("stdout = %q", f.stdout)
	}
	_, states := s.ids()
	if diff := cmp.Diff(map[string]string{"pair-db-1": "running"}, states); diff != "" {
		t.Errorf("after run --rm (-want +got):\n%s", diff)
	}

	// The service itself is not touched, and a single command is not one of its replicas.
	s.stack("up", "-q").want(t, 0)
	defer s.down()
	before, _ := s.ids()
	name := strings.TrimSpace(s.stack("run", "-q", "-d", "-T", "--name", "kept", "web", "sleep", "1000").want(t, 0).stdout)
	if all := s.stack("ps", "-a").want(t, 0).stdout; name != "kept" || !strings.Contains(all, "kept") {
		t.Errorf("run -d printed %q; ps -a:\n%s", name, all)
	}
	if again := s.stack("up").want(t, 0); strings.Contains(again.stderr, "removed") || strings.Contains(again.stderr, "warning") {
		t.Errorf("up beside a single command:\n%s", again.stderr)
	}
	if after, _ := s.ids(); !maps.Equal(before, after) {
		t.Errorf("containers before and after = %v and %v, want the same", before, after)
	}

	for _, flag := range []string{"--rm", "--no-deps"} { // without --rm, too
		r := s.begun("run", flag, "-T", "--no-deps", "web", "sh", "-c", "trap 'exit 0' TERM; echo there; sleep 1000 & wait")
		eventually(t, "the command runs", 20*time.Second, func() bool { return strings.Contains(r.stdout.String(), "there") })
		r.signal(t, syscall.SIGTERM)
		r.end(t).want(t, 130)
		if all := s.stack("ps", "-a").want(t, 0).stdout; strings.Contains(all, "-run-") {
			t.Errorf("left behind by an interrupted run with %s:\n%s", flag, all)
		}
	}
	s.stack("run", "-q", "-T", "--no-deps", "--name", "done", "web", "true").want(t, 0)
	if all := s.stack("ps", "-a").want(t, 0).stdout; !strings.Contains(all, "done ") {
		t.Errorf("a command without --rm has left no container:\n%s", all)
	}

	// Nobody is there any more to remove what runs on its own.
	name = strings.TrimSpace(s.stack("run", "-q", "-d", "--rm", "-T", "--no-deps", "web", "sh", "-c", "trap 'exit 0' TERM; while [ ! -f /tmp/end ]; do sleep 0.2; done").want(t, 0).stdout)
	if out, err := s.Podman.Command(t.Context(), "exec", name, "touch", "/tmp/end").CombinedOutput(); err != nil {
		t.Fatalf("ending %s: %v: %s", name, err, out)
	}
	eventually(t, "Podman has removed it", 20*time.Second, func() bool { return !strings.Contains(s.stack("ps", "-a").want(t, 0).stdout, name) })
	s.stack("run", "-q", "-d", "--rm", "-T", "--no-deps", "web", "true").want(t, 0)
	eventually(t, "a short one is gone, too", 20*time.Second, func() bool { return !strings.Contains(s.stack("ps", "-a").want(t, 0).stdout, "-run-") })
}

func TestAServiceBehindAProfileIsStartedByName(t *testing.T) {
	s := openStackCommands(t, `
name: hidden
services:
  tool: {image: busybox, init: true, profiles: [tools], env_file: [tool.env], command: sleep 1000, depends_on: {extra: {condition: service_started, required: false}}}
  extra: {image: busybox, init: true, profiles: [more], command: sleep 1000}
`)
	writeFile(t, s.dir, "tool.env", "WORD=from-the-file\n")
	s.stack("up", "-q").want(t, 2).wantError(t, "--profile", "no active service")
	s.stack("up", "-q", "tool").want(t, 0)
	if out := s.stack("exec", "-T", "tool", "sh", "-c", "echo $WORD").want(t, 0).stdout; out != "from-the-file\n" {
		t.Errorf("WORD = %q", out)
	}
	if out := s.stack("run", "-q", "--rm", "-T", "tool", "sh", "-c", "echo $WORD").want(t, 0).stdout; out != "from-the-file\n" {
		t.Errorf("WORD of a single command = %q", out)
	}
	if _, states := s.ids(); len(states) != 1 {
		t.Errorf("started: %v, want the tool alone", states)
	}
	s.down()
}

func TestRunWaitsForConditionsOnly(t *testing.T) {
	s := openStackCommands(t, `
name: soon
services:
  slow: {image: busybox, init: true, command: sleep 1000, healthcheck: {test: "false", interval: 1h}}
  db: {image: busybox, init: true, command: sh -c "sleep 1; touch /tmp/ok; sleep 1000", healthcheck: {test: "test -f /tmp/ok"}, post_start: [{command: [touch, /tmp/hook]}]}
  app:
    image: busybox
    depends_on: {slow: {condition: service_started}, db: {condition: service_healthy}}
    post_start: [{command: ["false"]}]
    deploy: {update_config: {parallelism: 1}}
`)
	f := s.stack("run", "--rm", "-T", "app", "echo", "here").want(t, 0)
	if f.stdout != "here\n" || !strings.Contains(f.stderr, "healthy") {
		t.Errorf("stdout = %q, stderr:\n%s", f.stdout, f.stderr)
	}
	if n := strings.Count(f.stderr, "update_config"); n != 1 {
		t.Errorf("a warning is shown %d times:\n%s", n, f.stderr)
	}
	s.stack("exec", "db", "test", "-f", "/tmp/hook").want(t, 0)
	s.down()
}

func TestAnAttachedUpShowsItsServicesAndStopsThem(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	r := s.begun("up", "--attach")
	eventually(t, "the services have spoken", time.Minute, func() bool {
		return strings.Contains(r.stdout.String(), "db   | db is up") && strings.Contains(r.stdout.String(), "web  | web is up")
	})
	r.signal(t, syscall.SIGINT)
	f := r.end(t).want(t, 130)
	if !strings.Contains(f.stdout, "web  | web goes\n") {
		t.Errorf("what web said when it was stopped is not shown:\n%s", f.stdout)
	}
	if strings.Contains(f.stdout, "noise") || strings.Contains(f.stdout, "\x1b") {
		t.Errorf("there are lines of a service with attach: false, or colours:\n%q", f.stdout)
	}
	before, states := s.ids()
	if diff := cmp.Diff(map[string]string{"pair-db-1": "exited", "pair-noise-1": "exited", "pair-web-1": "exited"}, states); diff != "" {
		t.Errorf("after Ctrl-C (-want +got):\n%s", diff)
	}
	// The next up starts what was stopped, with all that is in it.
	s.stack("up", "-q").want(t, 0)
	after, states := s.ids()
	if !maps.Equal(before, after) || states["pair-web-1"] != "running" {
		t.Errorf("containers before and after = %v and %v, %v; want the same, running", before, after, states)
	}
	s.down()
}

func TestASecondSignalKillsWhatDoesNotStop(t *testing.T) {
	s := openStackCommands(t, `
name: deaf
services:
  deaf: &deaf {image: busybox, stop_grace_period: 5m, command: ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]}
  again: {<<: *deaf, restart: always}
  hooked: {<<: *deaf, restart: unless-stopped, pre_stop: [{command: [sleep, "290"]}]}
`)
	r := s.begun("up", "--attach")
	eventually(t, "the services have spoken", time.Minute, func() bool { return strings.Count(r.stdout.String(), "| deaf") == 3 })
	r.signal(t, syscall.SIGINT)
	eventually(t, "it is being stopped", 10*time.Second, func() bool { return strings.Contains(r.stderr.String(), "stopping") })
	start := time.Now()
	r.signal(t, syscall.SIGINT)
	r.end(t).want(t, 130)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("killing took %s", took)
	}
	if _, states := s.ids(); len(states) != 3 || slices.ContainsFunc(slices.Collect(maps.Values(states)), func(state string) bool { return state != "exited" }) {
		t.Errorf("states = %v", states)
	}
	s.down()
}

func TestWhatIsPausedIsStopped(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	r := s.begun("up", "--attach")
	eventually(t, "the services have spoken", time.Minute, func() bool { return strings.Contains(r.stdout.String(), "web is up") })
	s.stack("pause", "web", "noise").want(t, 0)
	r.signal(t, syscall.SIGINT)
	if f := r.end(t).want(t, 130); !strings.Contains(f.stdout, "web goes") {
		t.Errorf("a paused service was not asked to stop:\n%s\n%s", f.stdout, f.stderr)
	}
	s.stack("start", "noise").want(t, 0)
	s.stack("pause", "noise").want(t, 0)
	s.stack("stop", "-t", "1", "noise").want(t, 0)
	if _, states := s.ids(); slices.ContainsFunc(slices.Collect(maps.Values(states)), func(state string) bool { return state != "exited" }) {
		t.Errorf("states = %v, want everything stopped", states)
	}
	s.down()
}

func TestUpEndsWithTheExitCodeOfOneService(t *testing.T) {
	s := openStackCommands(t, `
name: suite
services:
  db: {image: busybox, init: true, command: sh -c "touch /tmp/ok; sleep 1000", healthcheck: {test: "test -f /tmp/ok"}}
  migrate: {image: busybox, command: echo migrated, depends_on: {db: {condition: service_healthy}}}
  tests:
    image: busybox
    command: sh -c "sleep 2; echo testing; exit 3"
    depends_on: {migrate: {condition: service_completed_successfully}}
  crash: {image: busybox, profiles: [crash], command: sh -c "sleep 1; exit 9"}
`)
	for _, c := range []struct {
		args string
		code int
		says bool // the tests come to their end
	}{
		{"--exit-code-from tests", 3, true},
		{"--abort-on-container-exit", 3, true},
		{"--abort-on-container-exit --exit-code-from tests", 3, true},
		{"--abort-on-container-failure --exit-code-from tests", 3, true},
		{"--abort-on-container-failure --exit-code-from db crash db", 143, false},
		{"--abort-on-container-exit crash db", 9, false},
	} {
		t.Run(c.args, func(t *testing.T) {
			s.t = t
			f := s.stack(append([]string{"up", "-t", "5"}, strings.Fields(c.args)...)...).want(t, c.code)
			if says := strings.Contains(f.stdout, "| testing\n"); says != c.says {
				t.Errorf("the tests came to their end: %t, want %t\n%s", says, c.says, f.stdout)
			}
			if _, states := s.ids(); states["suite-db-1"] != "exited" {
				t.Errorf("states = %v, want everything stopped", states)
			}
			s.down()
		})
	}
}

func TestLogsAreFollowedUntilTheContainersEnd(t *testing.T) {
	s := openStackCommands(t, `
name: talk
services:
  first: {image: busybox, command: sh -c "for i in 1 2 3 4 5; do echo first $$i; sleep 0.4; done"}
  second: {image: busybox, command: sh -c "sleep 1; echo second; exit 4"}
`)
	s.stack("up", "-d").want(t, 0)
	defer s.down()
	start := time.Now()
	f := s.stack("logs", "-f").want(t, 0)
	for _, want := range []string{"first   | first 1\n", "first   | first 5\n", "second  | second\n"} {
		if !strings.Contains(f.stdout, want) {
			t.Errorf("logs -f lacks %q:\n%s", want, f.stdout)
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("logs -f went on for %s", took)
	}
	if last := s.stack("logs", "-n", "1", "--no-log-prefix", "first").want(t, 0).stdout; last != "first 5\n" {
		t.Errorf("logs -n 1 = %q", last)
	}
	if none := s.stack("logs", "--since", "2100-01-01").want(t, 0).stdout; none != "" {
		t.Errorf("logs of the future = %q", none)
	}
	if timed := s.stack("logs", "-t", "second").want(t, 0).stdout; !strings.HasPrefix(timed, "second  | 20") {
		t.Errorf("logs -t = %q", timed)
	}
}

func TestLogsAreFollowedOverARestart(t *testing.T) {
	s := openStackCommands(t, `
name: startup
services:
  again:
    image: busybox
    restart: on-failure
    command: sh -c "echo run $$(cat /n 2>/dev/null | wc -l); echo >>/n; for i in 1 2 3; do echo line $$i; done; sleep 1; [ $$(wc -l </n) -ge 4 ]"
  mute: {image: busybox, init: true, logging: {driver: none}, command: sh -c "while :; do echo hush; sleep 0.2; done"}
`)
	if f := s.stack("up", "-d").want(t, 0); !strings.HasPrefix(f.stdout, "stack startup is started after ") {
		t.Errorf("up -d says %q", f.stdout)
	}
	defer s.down()
	r := s.begun("logs", "-f", "--no-log-prefix")
	eventually(t, "all runs are shown", time.Minute, func() bool { return strings.Contains(r.stdout.String(), "run 3\nline 1\nline 2\nline 3\n") })
	f := r.end(t).want(t, 0)
	var want strings.Builder
	for _, run := range []string{"0", "1", "2", "3"} {
		want.WriteString("run " + run + "\nline 1\nline 2\nline 3\n")
	}
	if diff := cmp.Diff(want.String(), f.stdout); diff != "" {
		t.Errorf("logs -f over three restarts (-want +got):\n%s", diff)
	}
	if !strings.Contains(f.stderr, "note: mute: ") {
		t.Errorf("nothing is said of the service without logs:\n%s", f.stderr)
	}
	if timed := s.stack("logs", "-t", "--no-log-prefix", "again").want(t, 0).stdout; strings.Count(timed, "\n") != 16 || !strings.HasPrefix(timed, "20") {
		t.Errorf("logs -t:\n%s", timed)
	}

	// The same for who stays with the services.
	s.stack("down", "-t", "1").want(t, 0)
	r = s.begun("up", "--attach", "--no-log-prefix")
	eventually(t, "all runs are shown", time.Minute, func() bool { return strings.Contains(r.stdout.String(), "run 3\nline 1\nline 2\nline 3\n") })
	r.signal(t, syscall.SIGINT)
	if f := r.end(t).want(t, 130); f.stdout != want.String() || !strings.Contains(f.stderr, "note: mute: ") {
		t.Errorf("up --attach over three restarts:\n%s%s", f.stdout, f.stderr)
	}
}

func TestFilesAreCopiedBothWays(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.stack("up", "-q", "--no-deps", "db").want(t, 0)
	defer s.down()
	if err := os.MkdirAll(filepath.Join(s.dir, "in", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.dir, "in/sub/b", "b")
	writeFile(t, s.dir, "in/a", "a")
	if err := os.Symlink("a", filepath.Join(s.dir, "in", "link")); err != nil {
		t.Fatal(err)
	}
	s.stack("cp", "in", "db:/tmp").want(t, 0)
	s.stack("cp", "in/.", "db:/srv/new").want(t, 0)
	s.stack("cp", "in/a", "db:/tmp/renamed").want(t, 0)
	f := s.stack("exec", "db", "sh", "-c", "cat /tmp/in/sub/b /srv/new/a /tmp/renamed /tmp/in/link; stat -c %U:%G /tmp/in/a").want(t, 0)
	if f.stdout != "baaaroot:root\n" {
		t.Errorf("in the container there is %q", f.stdout)
	}
	s.stack("cp", "db:/tmp/in", "out").want(t, 0)
	s.stack("cp", "db:/tmp/in/.", ".").want(t, 0)
	s.stack("cp", "db:/tmp/renamed", "out/").want(t, 0)
	for _, name := range []string{"out/a", "out/link", "out/renamed", "a"} {
		if content, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || string(content) != "a" {
			t.Errorf("%s = %q, %v", name, content, err)
		}
	}
	archive := s.stack("cp", "db:/tmp/in", "-").want(t, 0).stdout
	s.fed(archive, "cp", "-", "db:/var").want(t, 0)
	if f := s.stack("exec", "db", "cat", "/var/in/sub/b").want(t, 0); f.stdout != "b" {
		t.Errorf("the archive brought %q", f.stdout)
	}
	// Hard links go along, whatever the copy is called.
	s.stack("exec", "db", "sh", "-c", "ln /tmp/in/a /tmp/in/sub/hard").want(t, 0)
	if err := os.Mkdir(filepath.Join(s.dir, "content"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.stack("cp", "db:/tmp/in", "linked").want(t, 0)
	s.stack("cp", "db:/tmp/in/.", "content").want(t, 0)
	for _, name := range []string{"linked/a", "linked/sub/hard", "content/a", "content/sub/hard"} {
		if content, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || string(content) != "a" {
			t.Errorf("%s = %q, %v", name, content, err)
		}
	}
	s.stack("cp", "db:/nowhere", ".").want(t, 1).wantError(t, "", "/nowhere")
	s.stack("cp", "nowhere", "db:/tmp").want(t, 1).wantError(t, "", "nowhere")
}

func TestFilesAreCopiedIntoEveryReplica(t *testing.T) {
	s := openStackCommands(t, `
name: many
services: {web: {image: busybox, init: true, user: "1000:1000", command: sleep 1000, scale: 2}}
`)
	s.stack("up", "-q").want(t, 0)
	defer s.down()
	content := func(replica, file string) string {
		t.Helper()
		return s.stack("exec", "--index", replica, "web", "sh", "-c", "cat "+file+" 2>/dev/null; stat -c ' %u:%g' "+file+" 2>/dev/null; true").want(t, 0).stdout
	}
	writeFile(t, s.dir, "a", "a")
	s.stack("cp", "a", "web:/tmp/all").want(t, 0)
	s.stack("cp", "--index", "2", "a", "web:/tmp/one").want(t, 0)
	s.stack("cp", "--index", "3", "a", "web:/tmp/none").want(t, 1).wantError(t, "", "container 3")
	archive := s.stack("cp", "--index", "2", "web:/tmp/one", "-").want(t, 0).stdout
	said, err := tar.NewReader(strings.NewReader(archive)).Next()
	if err != nil {
		t.Fatal(err)
	}
	owner := fmt.Sprintf("a %d:%d\n", said.Uid, said.Gid)
	s.fed(archive, "cp", "-", "web:/var/tmp").want(t, 0)
	s.fed(archive, "cp", "-", "web:/etc/passwd").want(t, 1).wantError(t, "", "web-")
	sub := filepath.Join(s.dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	s.typed(t, "typed", sub, nil, "stack", "-f", "../compose.yml", "cp", "..", "web:/tmp").want(t, 0)
	for _, c := range []struct{ replica, file, want string }{
		{"1", "/tmp/all", "a 0:0\n"},
		{"2", "/tmp/all", "a 0:0\n"},
		{"1", "/tmp/one", ""},
		{"2", "/tmp/one", "a 0:0\n"},
		{"1", "/var/tmp/one", owner},
		{"2", "/var/tmp/one", owner},
		{"1", "/tmp/" + filepath.Base(s.dir) + "/a", "a 0:0\n"},
	} {
		if got := content(c.replica, c.file); got != c.want {
			t.Errorf("%s of replica %s is %q, want %q", c.file, c.replica, got, c.want)
		}
	}
}

func TestServicesAreStoppedStartedAndRestarted(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.stack("up", "-q").want(t, 0)
	defer s.down()
	port := strings.TrimSpace(s.stack("port", "web", "8080").want(t, 0).stdout)
	if page := stackFetch(t, "http://"+port+"/"); page != "hello\n" {
		t.Errorf("GET %s = %q", port, page)
	}
	s.stack("port", "web", "9").want(t, 1).wantError(t, "", "9/tcp", "not published")

	f := s.stack("restart", "-t", "1", "db").want(t, 0)
	if !strings.Contains(f.stderr, "db ") || !strings.Contains(f.stderr, "web ") {
		t.Errorf("web follows the restart of db, but was left alone:\n%s", f.stderr)
	}
	s.stack("pause", "noise").want(t, 0)
	if _, states := s.ids(); states["pair-noise-1"] != "paused" {
		t.Errorf("states after pause = %v", states)
	}
	s.stack("unpause").want(t, 0)
	s.stack("kill", "-s", "KILL", "noise").want(t, 0)
	s.stack("stop", "-t", "2").want(t, 0)
	if _, states := s.ids(); slices.ContainsFunc(slices.Collect(maps.Values(states)), func(state string) bool { return state != "exited" }) {
		t.Errorf("states after stop = %v", states)
	}
	started := s.stack("start").want(t, 0).stderr
	if db, web := strings.Index(started, "db "), strings.Index(started, "web "); db < 0 || web < db {
		t.Errorf("web was not started after db:\n%s", started)
	}
	if top := s.stack("top", "db").want(t, 0).stdout; !strings.Contains(top, "sleep 1000") {
		t.Errorf("top:\n%s", top)
	}
	if images := s.stack("images").want(t, 0).stdout; strings.Count(images, "busybox") != 3 {
		t.Errorf("images:\n%s", images)
	}
	if list := s.stack("ls").want(t, 0).stdout; !strings.Contains(list, "pair") || !strings.Contains(list, "running (3)") {
		t.Errorf("ls:\n%s", list)
	}
}

func TestAStartDoesWhatUpDoes(t *testing.T) {
	s := openStackCommands(t, `
name: order
services:
  db: {image: busybox, init: true, command: sleep 1000, healthcheck: {test: "test -f /tmp/ok", interval: 1s, retries: 60}, post_start: [{command: [touch, /tmp/ok]}]}
  migrate: {image: busybox, command: sh -c "sleep 1; date +%s >> /shared/done; exit $$(cat /shared/code 2>/dev/null || echo 0)", volumes: ["shared:/shared"], depends_on: {db: {condition: service_healthy}}}
  web: {image: busybox, init: true, command: sh -c "wc -l < /shared/done > /shared/seen; sleep 1000", volumes: ["shared:/shared"], depends_on: {migrate: {condition: service_completed_successfully}}}
volumes: {shared: {}}
`)
	s.stack("up", "-q", "-d").want(t, 0)
	defer s.down()
	seen := func() string {
		t.Helper()
		return strings.TrimSpace(s.stack("exec", "web", "cat", "/shared/seen").want(t, 0).stdout)
	}
	s.stack("exec", "db", "rm", "/tmp/ok").want(t, 0)
	s.stack("stop", "-t", "1").want(t, 0)
	s.stack("start").want(t, 0) // its hook makes db healthy
	if got := seen(); got != "2" {
		t.Errorf("web was started after %s migrations, want 2", got)
	}
	s.stack("exec", "db", "rm", "/tmp/ok").want(t, 0)
	s.stack("restart", "-t", "1").want(t, 0)
	if got := seen(); got != "3" {
		t.Errorf("web was restarted after %s migrations, want 3", got)
	}
	s.stack("exec", "web", "sh", "-c", "echo 4 > /shared/code").want(t, 0)
	s.stack("stop", "-t", "1", "web").want(t, 0)
	s.stack("start").want(t, 1).wantError(t, "", "migrate", "exit code 4")
	if _, states := s.ids(); states["order-web-1"] != "exited" {
		t.Errorf("web was started although migrate failed: %v", states)
	}
	// What runs is waited for as well.
	s.stack("exec", "db", "rm", "/tmp/ok").want(t, 0)
	r := s.begun("start", "db", "migrate")
	time.Sleep(time.Second)
	if _, states := s.ids(); states["order-migrate-1"] != "exited" {
		t.Errorf("migrate was started before db was healthy: %v", states)
	}
	s.stack("exec", "db", "touch", "/tmp/ok").want(t, 0)
	r.end(t).want(t, 0)
}

func TestUpMakesAnewOnlyWhatHasChanged(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	up := func(args ...string) map[string]string {
		t.Helper()
		s.stack(append([]string{"up", "-q"}, args...)...).want(t, 0)
		ids, _ := s.ids()
		return ids
	}
	defer s.down()
	changed := func(before, after map[string]string) []string {
		var names []string
		for name, id := range after {
			if before[name] != id {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	first := up()
	if again := changed(first, up()); len(again) != 0 {
		t.Errorf("made anew without a reason: %q", again)
	}
	s.env = []string{"GREETING=goodbye"}
	second := up()
	if diff := cmp.Diff([]string{"pair-web-1"}, changed(first, second)); diff != "" {
		t.Errorf("made anew after a change of web (-want +got):\n%s", diff)
	}
	s.env = nil
	if kept := changed(second, up("--no-recreate")); len(kept) != 0 {
		t.Errorf("made anew with --no-recreate: %q", kept)
	}
	third := up("--force-recreate", "--no-deps", "web")
	if diff := cmp.Diff([]string{"pair-web-1"}, changed(second, third)); diff != "" {
		t.Errorf("made anew with --force-recreate web (-want +got):\n%s", diff)
	}
	// web follows db, although nothing of its own has changed.
	f := s.stack("up", "--force-recreate", "db").want(t, 0)
	if strings.Contains(f.stderr, "web") {
		t.Errorf("up db touched web:\n%s", f.stderr)
	}
	s.stack("stop", "-t", "1", "db").want(t, 0)
	if f := s.stack("up").want(t, 0); !strings.Contains(f.stderr, "web          restarted") {
		t.Errorf("web was not restarted with db:\n%s", f.stderr)
	}
	scaled := up("--scale", "noise=3")
	if _, there := scaled["pair-noise-3"]; !there || scaled["pair-noise-1"] != third["pair-noise-1"] {
		t.Errorf("after --scale noise=3: %v, and before %v", scaled, third)
	}
	if fewer := up("--scale", "noise=1"); len(fewer) != 3 {
		t.Errorf("after --scale noise=1: %v", fewer)
	}
}

func TestUpBuildsWhatItsServicesAreBuiltFrom(t *testing.T) {
	s := stackCommands{testStage: openStage(t, stage.Options{NoRegistry: true}), t: t, dir: t.TempDir()}
	writeFile(t, s.dir, "compose.yml", `
name: built
services:
  app:
    build: {context: ./app, args: {COLOR: "${COLOR:-red}"}, secrets: [word]}
    init: true
    command: sh -c "cat /color; sleep 1000"
  other: {image: built-app, init: true, command: sleep 1000}
secrets: {word: {environment: WORD}}
`)
	if err := os.Mkdir(filepath.Join(s.dir, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.dir, "app/Dockerfile", "FROM busybox\nARG COLOR\nRUN --mount=type=secret,id=word echo $COLOR $(cat /run/secrets/word | wc -c) > /color\n")
	s.env = []string{"WORD=s3cret"}
	s.stack("up", "--no-build").want(t, 1).wantError(t, "stack build", "built-app", "not built")
	up := s.stack("up").want(t, 0)
	if strings.Contains(up.stderr+up.stdout, "s3cret") {
		t.Error("the secret is shown")
	}
	defer s.down()
	if logs := s.stack("logs", "--no-log-prefix", "app").want(t, 0).stdout; logs != "red 6\n" {
		t.Errorf("logs = %q", logs)
	}
	s.env = append(s.env, "COLOR=blue")
	if again := s.stack("up").want(t, 0); strings.Contains(again.stderr, "building") {
		t.Errorf("what is there is built again:\n%s", again.stderr)
	}
	s.stack("up", "-q", "--build").want(t, 0)
	if color := s.stack("exec", "app", "cat", "/color").want(t, 0).stdout; color != "blue 6\n" {
		t.Errorf("color = %q", color)
	}
	s.stack("build", "-q").want(t, 0)
	s.stack("down", "-t", "2", "--rmi", "local").want(t, 0)
	if s.Podman.Command(t.Context(), "image", "exists", "built-app").Run() == nil {
		t.Error("down --rmi local left the image")
	}
	// An image that is used elsewhere stays, and keeps no other one there.
	s.stack("up", "-q").want(t, 0)
	if out, err := s.Podman.Command(t.Context(), "tag", "built-app", "aaa-first").CombinedOutput(); err != nil {
		t.Fatalf("naming an image: %v: %s", err, out)
	}
	s.env[1] = "COLOR=green"
	s.stack("build", "-q").want(t, 0)
	writeFile(t, s.dir, "other.yml", "name: other\nservices: {app: {image: aaa-first, init: true, command: sleep 1000}, too: {image: built-app, init: true, command: sleep 1000}}\n")
	if out, err := s.Podman.Command(t.Context(), "create", "--name", "elsewhere", "aaa-first").CombinedOutput(); err != nil {
		t.Fatalf("using an image: %v: %s", err, out)
	}
	s.stack("down", "-t", "2").want(t, 0)
	gone := s.stack("-f", "other.yml", "down", "--rmi", "all").want(t, 0)
	if !strings.Contains(gone.stderr, "image aaa-first stays") || s.Podman.Command(t.Context(), "image", "exists", "built-app").Run() == nil {
		t.Errorf("down --rmi all with an image that is used:\n%s", gone.stderr)
	}
	if out, err := s.Podman.Command(t.Context(), "rm", "elsewhere").CombinedOutput(); err != nil {
		t.Errorf("removing the other container: %v: %s", err, out)
	}
}

// A job's commands make nothing that is not the job's.
func TestWhatStackCommandsMakeBelongsToTheJob(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	// The ids of jobs are made from their names: those of two agents are often one.
	first, second := s, s
	first.env = []string{"DOCKLESS_AGENT=a-1", "DOCKLESS_JOB=0123456789abcdef"}
	second.env = []string{"DOCKLESS_AGENT=a-2", "DOCKLESS_JOB=0123456789abcdef"}
	first.stack("up", "-q", "db").want(t, 0)
	first.stack("run", "-q", "-d", "-T", "--no-deps", "web", "sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait").want(t, 0)
	made := s.ownersOf()
	if len(made) != 4 { // two containers, a network, a volume
		t.Errorf("made: %v", made)
	}
	for name, owner := range made {
		if !strings.HasPrefix(strings.SplitN(name, " ", 2)[1], "pair-a25b1ca4") || owner != "a-1 0123456789abcdef" {
			t.Errorf("%s is of %q, want all of the job's under its mark", name, owner)
		}
	}
	second.stack("up", "-q", "db").want(t, 0)
	if both := s.ownersOf(); len(both) != 7 {
		t.Errorf("two jobs with one id have made: %v", both)
	}
	second.stack("down", "-v", "-t", "2").want(t, 0)
	if left := s.ownersOf(); !maps.Equal(made, left) {
		t.Errorf("after down of the other job there is %v, want %v", left, made)
	}
	first.down()
}

// What a job's commands do is done to nothing that is not the job's, whatever the
// name of its project.
func TestStackCommandsOfAJobLeaveOthersAlone(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.stack("-p", "shared", "up", "-q", "db").want(t, 0)
	defer func() {
		s.stack("-p", "shared", "down", "-v", "-t", "2").want(t, 0)
		if left := containersOf(t, s.testStage); len(left) != 0 {
			t.Errorf("left behind by down: %q", left)
		}
	}()
	before := s.ownersOf()
	s.env = []string{"DOCKLESS_AGENT=a-1", "DOCKLESS_JOB=0123456789abcdef"}
	for _, args := range []string{"exec -T db true", "logs db", "stop db", "kill db", "restart db", "pause db", "cp db:/etc/passwd .", "cp compose.yml db:/tmp", "top db", "images db"} {
		s.stack(append([]string{"-p", "shared"}, strings.Fields(args)...)...).want(t, 1).wantError(t, "", "no container for service db")
	}
	for _, args := range []string{"stop", "kill", "down -v"} {
		s.stack(append([]string{"-p", "shared"}, strings.Fields(args)...)...).want(t, 0)
	}
	if ps := s.stack("-p", "shared", "ps", "-q").want(t, 0).stdout; ps != "" {
		t.Errorf("ps lists what is not the job's: %s", ps)
	}
	s.env = nil
	if after := s.ownersOf(); !maps.Equal(before, after) {
		t.Errorf("there is %v, want %v", after, before)
	}
	s.stack("-p", "shared", "exec", "-T", "db", "true").want(t, 0)
}

// Keys that become something else on their way to Podman do so each time alike.
func TestAStackWithManyKeysIsKeptAsItIs(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	dir := writeTree(t, map[string]string{"compose.yml": stackOfKeys, "plain.txt": "from-a-file"})
	up := func() (removed []string) {
		t.Helper()
		project, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Environment: map[string]string{"WORD": "s3cret"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), NoWait: true, Progress: func(e podmanrun.Event) {
			if e.Kind == podmanrun.EventRemoved || e.Kind == podmanrun.EventCreated {
				removed = append(removed, e.Service+" "+string(e.Kind))
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		return removed
	}
	if made := up(); len(made) != 7 {
		t.Errorf("made by the first start: %q", made)
	}
	if again := up(); len(again) != 0 {
		t.Errorf("made or removed by the second: %q", again)
	}
	if err := client.Down(t.Context(), "keys", podmanrun.DownOptions{Volumes: true}); err != nil {
		t.Error(err)
	}
}

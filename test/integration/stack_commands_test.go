package integration_test

import (
	"bytes"
	"encoding/json"
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

	r := s.begun("run", "--rm", "-T", "--no-deps", "web", "sh", "-c", "echo there; sleep 1000")
	eventually(t, "the command runs", 20*time.Second, func() bool { return strings.Contains(r.stdout.String(), "there") })
	r.signal(t, syscall.SIGTERM)
	r.end(t).want(t, 130)
	if all := s.stack("ps", "-a").want(t, 0).stdout; strings.Contains(all, "-run-") {
		t.Errorf("left behind by an interrupted run:\n%s", all)
	}
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
	s := openStackCommands(t, "name: deaf\nservices: {deaf: {image: busybox, stop_grace_period: 5m, command: ['sh', '-c', \"trap '' TERM; echo deaf; while :; do sleep 1; done\"]}}\n")
	r := s.begun("up", "--attach")
	eventually(t, "the service has spoken", time.Minute, func() bool { return strings.Contains(r.stdout.String(), "deaf  | deaf") })
	r.signal(t, syscall.SIGINT)
	eventually(t, "it is being stopped", 10*time.Second, func() bool { return strings.Contains(r.stderr.String(), "stopping") })
	start := time.Now()
	r.signal(t, syscall.SIGINT)
	r.end(t).want(t, 130)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("killing took %s", took)
	}
	if _, states := s.ids(); states["deaf-deaf-1"] != "exited" {
		t.Errorf("states = %v", states)
	}
	s.down()
}

func TestUpEndsWithTheExitCodeOfOneService(t *testing.T) {
	s := openStackCommands(t, `
name: suite
services:
  db: {image: busybox, init: true, command: sh -c "touch /tmp/ok; sleep 1000", healthcheck: {test: "test -f /tmp/ok"}}
  tests: {image: busybox, command: sh -c "echo testing; exit 3", depends_on: {db: {condition: service_healthy}}}
`)
	f := s.stack("up", "--exit-code-from", "tests").want(t, 3)
	if !strings.Contains(f.stdout, "tests  | testing\n") {
		t.Errorf("stdout:\n%s", f.stdout)
	}
	if _, states := s.ids(); states["suite-db-1"] != "exited" {
		t.Errorf("states = %v, want everything stopped", states)
	}
	s.down()
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
	s.stack("cp", "db:/nowhere", ".").want(t, 1).wantError(t, "", "/nowhere")
	s.stack("cp", "nowhere", "db:/tmp").want(t, 1).wantError(t, "", "nowhere")
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
	if strings.Index(started, "db ") > strings.Index(started, "web ") {
		t.Errorf("web was started before db:\n%s", started)
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
}

// A job's commands make nothing that is not the job's.
func TestWhatStackCommandsMakeBelongsToTheJob(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.env = []string{"DOCKLESS_AGENT=a-1", "DOCKLESS_JOB=0123456789abcdef"}
	s.stack("up", "-q", "db").want(t, 0)
	s.stack("run", "-q", "-d", "-T", "--no-deps", "web", "sleep", "1000").want(t, 0)
	out, err := s.Podman.Command(t.Context(), "ps", "--format", "{{.Names}} {{.Labels}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "pair-01234567-") || !strings.Contains(line, "io.dockless.agent:a-1") || !strings.Contains(line, "io.dockless.job:0123456789abcdef") {
			t.Errorf("not of the job: %s", line)
		}
	}
	if strings.Count(string(out), "\n") != 2 {
		t.Errorf("containers:\n%s", out)
	}
	s.down()
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

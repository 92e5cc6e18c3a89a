package integration_test

import (
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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

package integration_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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

// Podman itself drops lines that it has not read yet when a container has ended, and
// before 4.7 pieces of the last lines.
func TestFollowedLogsAreWhole(t *testing.T) {
	s := openStackCommands(t, `
name: whole
services:
  long: {image: busybox, command: seq 1 50000}
  crash: {image: busybox, restart: "on-failure:6", command: sh -c "seq 1 200; sleep 0.3; seq 201 400; exit 3"}
  pieces: {image: busybox, command: sh -c "nosuch; echo out; sleep 1; nosuch; nosuch; printf rest"}
`)
	s.stack("up", "-d").want(t, 0)
	defer s.down()
	for _, service := range []string{"crash", "long", "pieces"} {
		followed := s.stack("logs", "-f", "--no-log-prefix", service).want(t, 0).stdout
		if whole := s.stack("logs", "--no-log-prefix", service).want(t, 0).stdout; followed != whole {
			t.Errorf("logs -f %s has %d lines, of the %d that logs has:\n%s", service, strings.Count(followed, "\n"), strings.Count(whole, "\n"), cmp.Diff(whole, followed))
		}
	}
	want := "sh: nosuch: not found\nsh: nosuch: not found\nrest\n"
	for _, args := range [][]string{{"logs", "-n", "3"}, {"logs", "-f", "-n", "3"}} {
		if got := s.stack(append(args, "--no-log-prefix", "pieces")...).want(t, 0).stdout; got != want {
			t.Errorf("%q = %q, want %q", args, got, want)
		}
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

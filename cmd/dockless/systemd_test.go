package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/sdnotify"
	"github.com/dockless-ci/dockless/probe"
)

// systemd is a manager's socket.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
}

func newSystemd(t *testing.T, address string) systemd {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return systemd{t, conn}
}

// next returns the lines of the next message.
func (s systemd) next() []string {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := s.conn.Read(buffer)
	if err != nil {
		s.t.Fatalf("waiting for a message: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(buffer[:n])), "\n")
}

// until reads messages up to the one with a line that begins so, and returns it.
func (s systemd) until(prefix string) []string {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		lines := s.next()
		if has(lines, prefix) {
			return lines
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("after a minute systemd still hears %q, want %q", lines, prefix)
		}
	}
}

func has(lines []string, prefix string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, prefix) })
}

// wantSaid checks which lines a message has and which it has not.
func wantSaid(t *testing.T, when string, lines, want, unwanted []string) {
	t.Helper()
	for _, w := range want {
		if !has(lines, w) {
			t.Errorf("%s systemd hears %q, want %q among it", when, lines, w)
		}
	}
	for _, u := range unwanted {
		if has(lines, u) {
			t.Errorf("%s systemd hears %q, want no %q", when, lines, u)
		}
	}
}

// announced is an agent that tells systemd, which is ready but for its session.
func announced(t *testing.T, path, address string, shared bool) *health {
	t.Helper()
	h, err := openHealth(path, shared, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := h.announce(t.Context(), sdnotify.Config{Socket: address, WatchdogUS: 150_000, WatchdogPID: os.Getpid()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	h.builder.Set(probe.Stopped, probe.ReasonNone)
	h.podman.Set(probe.Stopped, probe.ReasonNone)
	return h
}

func TestSystemdHearsWhatThePageSays(t *testing.T) {
	for name, address := range map[string]string{
		"path": filepath.Join(t.TempDir(), "notify"), "abstract": fmt.Sprintf("@dockless-agent-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			manager := newSystemd(t, address)
			t.Setenv("NOTIFY_SOCKET", address)
			h := announced(t, filepath.Join(t.TempDir(), "page"), address, false)
			if value, ok := os.LookupEnv("NOTIFY_SOCKET"); ok {
				t.Errorf("NOTIFY_SOCKET is still %q: the steps of jobs would have it", value)
			}
			wantSaid(t, "while the agent boots,", manager.next(), []string{"WATCHDOG=1", "STATUS=not ready: slot poll is starting"}, []string{"READY", "STOPPING"})

			h.agent().Ready(true)
			wantSaid(t, "with a session,", manager.until("STATUS=ready: "), []string{"READY=1", "WATCHDOG=1"}, []string{"STOPPING"})
			for range 3 {
				wantSaid(t, "later on,", manager.next(), []string{"WATCHDOG=1", "STATUS=ready: "}, []string{"READY", "STOPPING"})
			}

			h.poll.Allow(time.Nanosecond) // and then half a second, which is how coarse the clock is
			wantSaid(t, "when a loop stands still,", manager.until("STATUS=not live: slot poll: last beat"), nil, []string{"WATCHDOG", "READY"})
			wantSaid(t, "as long as it does,", manager.next(), []string{"STATUS=not live: slot poll: last beat"}, []string{"WATCHDOG", "READY"})
			h.poll.Allow(time.Hour)
			wantSaid(t, "when it goes on,", manager.until("STATUS=ready: "), []string{"WATCHDOG=1"}, []string{"READY"})

			h.agent().Draining()
			wantSaid(t, "when the agent is told to go,", manager.until("STOPPING=1"), []string{"WATCHDOG=1"}, []string{"READY"})
			manager.until("STATUS=not ready: slot poll is draining (told to)")
			h.leave()
			for range 3 {
				wantSaid(t, "until it is gone,", manager.next(), []string{"WATCHDOG=1"}, []string{"STOPPING", "READY"})
			}
		})
	}
}

// What dies beside the agent, on a page that it shares, is not the agent.
func TestSystemdHearsOfNobodyElse(t *testing.T) {
	dir := t.TempDir()
	address, path := filepath.Join(dir, "notify"), filepath.Join(dir, "page")
	manager := newSystemd(t, address)
	h := announced(t, path, address, true)
	guest := make([]byte, 64) // docs/probe-abi.md; its owner is a process that there cannot be
	binary.LittleEndian.PutUint64(guest, 1<<22-1|1<<24)
	copy(guest[8:], []byte{byte(probe.Ready), 1})
	copy(guest[40:], "guest")
	page, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := page.WriteAt(guest, probe.PageSize-int64(len(guest))); err != nil {
		t.Fatal(err)
	}
	if err := page.Close(); err != nil {
		t.Fatal(err)
	}
	if live := asked(t, path, probe.IsLive); live.OK || !strings.Contains(live.Text, "slot guest: process 4194303 is gone") {
		t.Errorf("the page says %+v, want that the guest is gone", live)
	}
	h.agent().Ready(true)
	wantSaid(t, "with a dead guest,", manager.until("STATUS=ready: 1 slot: poll "), []string{"READY=1", "WATCHDOG=1"}, nil)
	wantSaid(t, "and then,", manager.next(), []string{"WATCHDOG=1"}, nil)
}

// A machine that slept lets beats look old, and no loop is late for it.
func TestTheWatchdogIsPatientAfterASleep(t *testing.T) {
	dir := t.TempDir()
	address := filepath.Join(dir, "notify")
	manager := newSystemd(t, address)
	w, err := probe.Create(filepath.Join(dir, "page"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if _, err := w.Slot("poll", time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	page, err := probe.Open(filepath.Join(dir, "page"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = page.Close() }()
	notifier, err := sdnotify.Open(sdnotify.Config{Socket: address})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = notifier.Close() }()
	asleep := time.Hour // before the agent was started
	h := &herald{systemd: notifier, page: page, watchdog: time.Minute, log: slog.New(slog.DiscardHandler), nap: newNap(func() time.Duration { return asleep })}
	said := func() []string {
		h.tell(t.Context())
		return manager.next()
	}
	for deadline := time.Now().Add(time.Minute); page.Ask(probe.IsLive, probe.Query{}).OK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a slot that does not beat is live for a minute")
		}
	}
	wantSaid(t, "of a loop that is stuck", said(), []string{"STATUS=not live"}, []string{"WATCHDOG"})
	asleep += 200 * time.Millisecond // nobody sleeps so little
	wantSaid(t, "of a loop that is stuck", said(), []string{"STATUS=not live"}, []string{"WATCHDOG"})
	asleep += 10 * time.Minute
	wantSaid(t, "after a sleep", said(), []string{"STATUS=not live", "WATCHDOG=1"}, nil)
	wantSaid(t, "soon after a sleep", said(), []string{"STATUS=not live", "WATCHDOG=1"}, nil)
	h.nap.until = time.Now()
	wantSaid(t, "of a loop that has not come round by then", said(), []string{"STATUS=not live"}, []string{"WATCHDOG"})
	if known := slept(); known < -time.Second {
		t.Errorf("this machine has slept for %s", known)
	}
}

// An agent may wait half an hour for its server until it is ready.
func TestSystemdIsToldLessOftenTheLongerABootTakes(t *testing.T) {
	for name, test := range map[string]struct {
		herald herald
		want   []int // ms
	}{
		"starting":                {herald{}, []int{500, 1000, 2000, 4000, 8000, 15000, 15000}},
		"starting, with watchdog": {herald{watchdog: 9 * time.Second}, []int{500, 1000, 2000, 3000, 3000}},
		"ready":                   {herald{ready: true}, []int{15000, 15000}},
		"ready, with watchdog":    {herald{ready: true, watchdog: 30 * time.Second}, []int{10000}},
	} {
		for n, want := range test.want {
			if got := test.herald.period(); got.Milliseconds() != int64(want) {
				t.Errorf("%s: pause %d is %s, want %d ms", name, n, got, want)
			}
		}
	}
}

func TestSystemdCannotBeToldWithoutAPage(t *testing.T) {
	h, err := openHealth("", false, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.announce(t.Context(), sdnotify.Config{Socket: "@nobody"}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "DOCKLESS_PROBE_FILE") {
		t.Errorf("announce = %v, want an error about DOCKLESS_PROBE_FILE", err)
	}
	stop, err := h.announce(t.Context(), sdnotify.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("announce without systemd = %v, want nil", err)
	}
	stop()
}

// abortVariable makes this test binary an agent under systemd that is aborted, as by
// the watchdog; it has the manager's socket.
const abortVariable = "DOCKLESS_TEST_ABORT"

// A unit with RestartPreventExitStatus=2 is started again only after a signal.
func TestWhatTheWatchdogEndsDiesOfASignal(t *testing.T) {
	if socket := os.Getenv(abortVariable); socket != "" {
		abortUnderSystemd(t, socket)
	}
	address := filepath.Join(t.TempDir(), "notify")
	newSystemd(t, address)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), abortVariable+"="+address)
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatalf("the agent ended with %v\n%s", err, out)
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("the agent ended with %v, want SIGABRT", err)
	}
	if !strings.Contains(string(out), "abortUnderSystemd") {
		t.Errorf("the agent left %q, want its stacks", out)
	}
}

func abortUnderSystemd(t *testing.T, socket string) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil { // as the agent does: no core
		t.Fatal(err)
	}
	h, err := openHealth(filepath.Join(filepath.Dir(socket), "page"), false, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.announce(t.Context(), sdnotify.Config{Socket: socket}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	select {}
}

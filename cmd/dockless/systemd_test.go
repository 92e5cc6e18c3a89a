package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// within returns the lines of the messages of some time, the numbers of slots and
// milliseconds left out.
func (s systemd) within(d time.Duration) []string {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	buffer := make([]byte, 4096)
	for {
		n, err := s.conn.Read(buffer)
		if err != nil {
			return lines
		}
		lines = append(lines, strings.Split(strings.TrimSpace(string(buffer[:n])), "\n")...)
	}
}

func has(lines []string, prefix string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, prefix) })
}

func TestSystemdHearsWhatThePageSays(t *testing.T) {
	for name, address := range map[string]string{
		"path": filepath.Join(t.TempDir(), "notify"), "abstract": fmt.Sprintf("@dockless-agent-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			manager := newSystemd(t, address)
			t.Setenv("NOTIFY_SOCKET", address)
			h, err := openHealth(filepath.Join(t.TempDir(), "page"), false, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			stop, err := h.announce(t.Context(), sdnotify.Config{Socket: address, WatchdogUS: 150_000, WatchdogPID: os.Getpid()}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				stop()
				if err := h.close(); err != nil {
					t.Error(err)
				}
			}()
			if value, ok := os.LookupEnv("NOTIFY_SOCKET"); ok {
				t.Errorf("NOTIFY_SOCKET is still %q: the steps of jobs would have it", value)
			}
			expect := func(when string, want, unwanted []string) {
				t.Helper()
				lines := manager.within(300 * time.Millisecond)
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
			expect("while the agent boots,", []string{"WATCHDOG=1", "STATUS=not ready: slot poll is starting"}, []string{"READY", "STOPPING"})

			h.builder.Set(probe.Stopped, probe.ReasonNone)
			h.podman.Set(probe.Stopped, probe.ReasonNone)
			h.agent().Ready(true)
			expect("with a session,", []string{"READY=1", "WATCHDOG=1", "STATUS=ready: "}, []string{"STOPPING"})
			expect("later on,", []string{"WATCHDOG=1", "STATUS=ready: "}, []string{"READY", "STOPPING"})

			h.poll.Allow(time.Nanosecond) // and then half a second, which is how coarse the clock is
			time.Sleep(1100 * time.Millisecond)
			manager.within(100 * time.Millisecond) // what was said meanwhile
			expect("when a loop stands still,", []string{"STATUS=not live: slot poll: last beat"}, []string{"WATCHDOG", "READY"})
			h.poll.Allow(time.Minute)
			manager.within(100 * time.Millisecond)
			expect("when it goes on,", []string{"WATCHDOG=1", "STATUS=ready: "}, []string{"READY"})

			h.agent().Draining()
			expect("when the agent is told to go,", []string{"STOPPING=1", "WATCHDOG=1", "STATUS=not ready: slot poll is draining (told to)"}, nil)
			h.leave()
			expect("until it is gone,", []string{"WATCHDOG=1"}, []string{"STOPPING", "READY"})
		})
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

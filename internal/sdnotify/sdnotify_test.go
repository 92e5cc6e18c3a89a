package sdnotify_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/sdnotify"
)

// manager is the far side: a socket as systemd has it.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// next reads one message.
func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 8<<10)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatalf("reading a message: %v", err)
	}
	return string(buffer[:n])
}

func TestMessagesReachASocketByPathAndByAbstractName(t *testing.T) {
	for name, address := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": fmt.Sprintf("@dockless-test-%d-%s", os.Getpid(), t.Name()),
	} {
		t.Run(name, func(t *testing.T) {
			conn := manager(t, address)
			n, err := sdnotify.Open(sdnotify.Config{Socket: address})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}()
			if err := n.Send("READY=1", "STATUS=two\nWATCHDOG=1"); err != nil {
				t.Fatal(err)
			}
			if got, want := next(t, conn), "READY=1\nSTATUS=two WATCHDOG=1\n"; got != want {
				t.Errorf("the message is %q, want %q", got, want)
			}
			if err := n.Send("STATUS=" + strings.Repeat("é", 4000)); err != nil {
				t.Fatal(err)
			}
			if got := next(t, conn); len(got) > 1100 || !strings.HasSuffix(got, "é\n") {
				t.Errorf("a long status arrived with %d bytes that end with %q, want about a kibibyte of whole characters", len(got), got[len(got)-3:])
			}
		})
	}
}

func TestWithoutSystemdNothingIsSent(t *testing.T) {
	n, err := sdnotify.Open(sdnotify.Config{WatchdogUS: 1000000})
	if n != nil || err != nil {
		t.Fatalf("Open = %v, %v, want nil and nil", n, err)
	}
	if err := n.Send("READY=1"); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// A manager that reads nothing must not hold the agent up.
func TestAManagerThatReadsNothingIsGivenUpAfterASecond(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	manager(t, address)
	n, err := sdnotify.Open(sdnotify.Config{Socket: address})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	for range 10_000 { // more than any queue takes
		if err = n.Send("WATCHDOG=1"); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("messages that nobody reads: %v, want that the time for one was over", err)
	}
}

func TestTheSocketThatIsNotThereIsNamed(t *testing.T) {
	_, err := sdnotify.Open(sdnotify.Config{Socket: "/nowhere/notify"})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/notify") {
		t.Errorf("Open = %v, want an error that names the socket", err)
	}
}

func TestAWatchdogIsForTheProcessItNames(t *testing.T) {
	for name, c := range map[string]struct {
		config sdnotify.Config
		want   time.Duration
	}{
		"ours":            {sdnotify.Config{Socket: "/s", WatchdogUS: 30_000_000, WatchdogPID: os.Getpid()}, 30 * time.Second},
		"nobody's":        {sdnotify.Config{Socket: "/s", WatchdogUS: 30_000_000}, 30 * time.Second},
		"another's":       {sdnotify.Config{Socket: "/s", WatchdogUS: 30_000_000, WatchdogPID: 1}, 0},
		"none":            {sdnotify.Config{Socket: "/s"}, 0},
		"without systemd": {sdnotify.Config{WatchdogUS: 30_000_000}, 0},
	} {
		if got := c.config.Watchdog(); got != c.want {
			t.Errorf("%s: watchdog = %s, want %s", name, got, c.want)
		}
	}
}

func TestWhatSystemdNeverSetsIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		config sdnotify.Config
		names  string // "" is usable
	}{
		"a path":           {sdnotify.Config{Socket: "/run/systemd/notify"}, ""},
		"an abstract name": {sdnotify.Config{Socket: "@notify"}, ""},
		"another family":   {sdnotify.Config{Socket: "vsock:2:1234"}, "NOTIFY_SOCKET"},
		"a relative path":  {sdnotify.Config{Socket: "notify"}, "NOTIFY_SOCKET"},
		"an age":           {sdnotify.Config{WatchdogUS: 1 << 63}, "WATCHDOG_USEC"},
	} {
		err := c.config.Validate()
		if (err != nil) != (c.names != "") || err != nil && !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: Validate = %v, want an error about %q", name, err, c.names)
		}
	}
}

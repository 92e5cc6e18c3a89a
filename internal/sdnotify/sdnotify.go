// Package sdnotify knows how to tell systemd how a service is doing: that it is ready,
// what it does, that it stops, and that it is alive, for a unit of Type=notify.
//
// It talks to the socket that systemd names in NOTIFY_SOCKET, one datagram for each
// message, as sd_notify(3) describes. One use flows like this:
//
//	n, err := sdnotify.Open(config) // nil without systemd
//	err = n.Send("READY=1", "STATUS=waiting for jobs")
//	err = n.Send("WATCHDOG=1") // several times within config.Watchdog()
//	err = n.Close()
package sdnotify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// Config is what systemd tells its services.
type Config struct {
	Socket      string `envconfig:"NOTIFY_SOCKET" desc:"set by systemd for a unit of Type=notify: the socket, a path or @ and an abstract name, where it wants to be told that the agent is ready, how it is doing and that it stops"`
	WatchdogUS  uint64 `envconfig:"WATCHDOG_USEC" desc:"set by systemd for a unit with WatchdogSec=: it restarts an agent that it heard nothing of for so many microseconds. The agent sends a sign while its slots of the probe page are live, so it needs DOCKLESS_PROBE_FILE"`
	WatchdogPID int    `envconfig:"WATCHDOG_PID" desc:"set by systemd: the process that WATCHDOG_USEC is for"`
}

// Names are the variables of Config. They are for one process, so that its children
// should not have them.
func Names() []string { return []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} }

const (
	// sendTimeout bounds one message: a manager that takes none for a second will not
	// be told, and is told again.
	sendTimeout = time.Second
	// maxStatus bounds the text of a message; systemd reads 4096 bytes.
	maxStatus = 1024
	// maxWatchdog is a year, more than anybody means.
	maxWatchdog = 365 * 24 * time.Hour
)

// Validate reports all that cannot be used.
func (c Config) Validate() error {
	var problems []error
	if c.Socket != "" && !strings.HasPrefix(c.Socket, "/") && !strings.HasPrefix(c.Socket, "@") {
		problems = append(problems, fmt.Errorf("NOTIFY_SOCKET %q is neither a path nor @ and a name", c.Socket))
	}
	if c.WatchdogUS > uint64(maxWatchdog/time.Microsecond) {
		problems = append(problems, fmt.Errorf("WATCHDOG_USEC %d is more than a year", c.WatchdogUS))
	}
	return errors.Join(problems...)
}

// Watchdog is how long systemd waits for a sign of this process; zero: it does not.
func (c Config) Watchdog() time.Duration {
	if c.Socket == "" || c.WatchdogPID != 0 && c.WatchdogPID != os.Getpid() {
		return 0
	}
	return time.Duration(c.WatchdogUS) * time.Microsecond //nolint:gosec // Validate bounds it
}

// Notifier sends messages to systemd. Its methods may be called concurrently. A nil
// Notifier is one without systemd and sends nothing.
type Notifier struct {
	conn *net.UnixConn
	mu   sync.Mutex // keeps one message's deadline from another's
}

// Open connects to the socket of c, which is valid; without one it returns nil.
func Open(c Config) (*Notifier, error) {
	if c.Socket == "" {
		return nil, nil //nolint:nilnil // a nil Notifier is a valid one
	}
	// The Go standard library spells abstract names with @ as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: c.Socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connecting to systemd at %s: %w", c.Socket, err)
	}
	return &Notifier{conn: conn}, nil
}

// Send sends assignments such as "READY=1" in one message. What would begin another
// line in one of them becomes a space, and what is too long is cut.
func (n *Notifier) Send(assignments ...string) error {
	if n == nil {
		return nil
	}
	var b strings.Builder
	for _, a := range assignments {
		a = strings.Map(oneLine, a)
		b.WriteString(strings.ToValidUTF8(a[:min(len(a), maxStatus)], "") + "\n")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	if err == nil {
		_, err = n.conn.Write([]byte(b.String()))
	}
	if err != nil {
		return fmt.Errorf("telling systemd: %w", err)
	}
	return nil
}

func oneLine(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

// Close closes the connection.
func (n *Notifier) Close() error {
	if n == nil {
		return nil
	}
	return n.conn.Close()
}

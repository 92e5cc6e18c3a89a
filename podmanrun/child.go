package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// childPoll is the pause between looks for the child's socket; the service
	// needs about 100 ms to listen.
	childPoll = 10 * time.Millisecond
	// childGrace is how long the service may take to end after SIGTERM. It has
	// no state to write, so this only covers requests in flight.
	childGrace = 5 * time.Second
	// childOutput is how much of the service's output is kept for an error.
	childOutput = 4 << 10
)

// child is a Podman service that belongs to this process.
type child struct {
	cmd    *exec.Cmd
	dir    string // private directory of the socket
	socket string
	output *tailBuffer
	exited chan struct{} // closed by the goroutine that waits for the process
	err    error         // how the process ended; set before exited is closed
}

// startChild starts cfg.Program as a service on a private socket and waits
// until it listens or ctx ends.
func startChild(ctx context.Context, cfg Config, log *slog.Logger) (*child, error) {
	program, err := exec.LookPath(cfg.Program)
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cfg.RuntimeDir, "dockless-podman-")
	if err != nil {
		return nil, err
	}
	ch := &child{dir: dir, socket: filepath.Join(dir, "podman.sock"), output: &tailBuffer{limit: childOutput}, exited: make(chan struct{})}
	ch.cmd = exec.Command(program, "system", "service", "--time=0", "unix://"+ch.socket) //nolint:noctx // the process outlives ctx; stop ends it
	ch.cmd.Stdout, ch.cmd.Stderr = ch.output, ch.output
	ch.cmd.Dir = dir // conmon leaves a file where it works when a container's memory ran out
	ch.cmd.SysProcAttr = childAttributes()
	if err := ch.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		ch.err = ch.cmd.Wait()
		close(ch.exited)
	}()
	if err := ch.listening(ctx); err != nil {
		return nil, errors.Join(err, ch.stop())
	}
	log.InfoContext(ctx, "private podman service started", "program", program, "pid", ch.cmd.Process.Pid)
	return ch, nil
}

// listening returns when the socket accepts a connection.
func (ch *child) listening(ctx context.Context) error {
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", ch.socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ch.exited:
			return fmt.Errorf("the service ended at once (%w): %s", ch.err, ch.output.String())
		default:
		}
		if err := retry.Wait(ctx, childPoll); err != nil {
			return fmt.Errorf("waiting for the service's socket: %w", err)
		}
	}
}

// stop ends the service, waits for it and removes its socket. It may be called twice.
func (ch *child) stop() error {
	if err := ch.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the private Podman service: %w", err)
	}
	timer := time.NewTimer(childGrace)
	defer timer.Stop()
	select {
	case <-ch.exited:
	case <-timer.C:
		_ = ch.cmd.Process.Kill() // it may have ended between the two lines
		<-ch.exited
	}
	return os.RemoveAll(ch.dir)
}

// tailBuffer keeps the last limit bytes written to it.
type tailBuffer struct {
	limit int
	mu    sync.Mutex
	data  []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	if len(b.data) > b.limit {
		b.data = append([]byte(nil), b.data[len(b.data)-b.limit:]...)
	}
	return len(p), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(string(b.data))
}

package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// readyPause is how often a socket is tried that is not there yet: the server
// needs some 30 ms after its container was started.
const readyPause = 5 * time.Millisecond

// answerTimeout bounds the wait for the first word of the other side. Starting a
// process takes milliseconds; seconds mean a machine that swaps, or a server that
// hangs.
const answerTimeout = 10 * time.Second

// Process is a process in a container. [Process.Close] gives it up.
type Process struct {
	conn *net.UnixConn
	PID  int // as the container numbers it
}

// Start starts p by the server at the other end of socket, a path on this side.
// Its output goes to the files, which may be one and are the caller's to close.
// When there is no such program, the error wraps [ErrNotFound]; a server that does
// not answer within seconds is an error, too.
func Start(ctx context.Context, socket string, p Program, stdout, stderr *os.File) (*Process, error) {
	return start(ctx, socket, p, stdout, stderr, answerTimeout)
}

func start(ctx context.Context, socket string, p Program, stdout, stderr *os.File, patience time.Duration) (*Process, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing in the container answered within %s", patience))
	defer cancel()
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	var answer reply
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // a deadline that passed ends every wait
	if err = send(conn, p, stdout, stderr); err == nil {
		_, err = receive(conn, &answer)
	}
	switch {
	case !stop():
		err = context.Cause(ctx)
	case err != nil:
		err = fmt.Errorf("the container does not answer: %w", err)
	case answer.Kind == kindLook:
		err = fmt.Errorf("looking for %s: %w", p.Path, ErrNotFound)
	case answer.Error != "":
		err = errors.New(answer.Error)
	default:
		return &Process{conn: conn, PID: answer.PID}, nil
	}
	_ = conn.Close() // whatever was started is killed by that
	return nil, err
}

// Probe tries the rights of the container's user in dir, a path in the container.
func Probe(ctx context.Context, socket, dir string) error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close() //nolint:errcheck // nothing was written
	p, err := Start(ctx, socket, Program{Probe: dir}, null, null)
	if err == nil {
		p.Close()
	}
	return err
}

// AwaitReady returns when the server listens, or with the cause of ctx.
func AwaitReady(ctx context.Context, socket string) error {
	for {
		conn, err := dial(ctx, socket)
		if err == nil {
			return conn.Close()
		}
		if werr := retry.Wait(ctx, readyPause); werr != nil {
			return fmt.Errorf("%w (%w)", werr, err)
		}
	}
}

// dial connects to the socket. Its address is made short by the directory's
// descriptor where the system allows that: an address has room for 107 bytes, and
// a work folder may lie deep.
func dial(ctx context.Context, socket string) (*net.UnixConn, error) {
	address := socket
	if runtime.GOOS == "linux" {
		dir, err := os.Open(filepath.Dir(socket))
		if err != nil {
			return nil, err
		}
		defer dir.Close() //nolint:errcheck // only a name
		address = filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(socket))
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", socket, err)
	}
	return conn.(*net.UnixConn), nil
}

// Signal sends a signal to the process and its group.
func (p *Process) Signal(s syscall.Signal) {
	_, _ = p.conn.Write([]byte{byte(s)}) //nolint:gosec // signals are small; one to a process that is gone does not matter
}

// Wait returns when the process has ended. An error means that its container has.
func (p *Process) Wait() (Exit, error) {
	var answer reply
	if _, err := receive(p.conn, &answer); err != nil {
		return Exit{}, fmt.Errorf("the container ended while the process ran: %w", err)
	}
	if answer.Exit == nil {
		return Exit{}, errors.New("the container gave no exit code")
	}
	return *answer.Exit, nil
}

// Close ends the connection. A process that has not ended is killed by it, with
// its group; what an ended one has left behind goes on.
func (p *Process) Close() { _ = p.conn.Close() }

package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// startTimeout bounds the wait for a component's first answer. All of them
	// answer within a second on an idle machine; a loaded CI host with two cores
	// has been seen to need ten.
	startTimeout = time.Minute
	// stopGrace is how long a component may take to end after SIGTERM. buildkitd
	// closes its databases within a second, on a disk that is not busy.
	stopGrace = time.Minute
	// cleanTimeout bounds the removal of everything a component left behind;
	// stopping a database container is the longest part.
	cleanTimeout = time.Minute
	// pipeGrace is how long to read on from a command that was ended: a daemon it
	// started may hold the pipe for ever.
	pipeGrace = time.Second
	// pollEvery is the pause between two looks at something that is starting or
	// ending: short against its start time, long against a look.
	pollEvery = 20 * time.Millisecond
	// tailBytes is how much of a log goes into an error or a test's output:
	// about twenty lines, so that those of several components fit on a screen.
	tailBytes = 2 << 10
)

var (
	errStartTimeout = errors.New("no answer within " + startTimeout.String())
	errCleanTimeout = errors.New("not cleaned up within " + cleanTimeout.String())
)

// process is one running program with its output in a file.
type process struct {
	name string
	log  string
	pid  int
	done chan struct{} // closed once the program has been waited for
	err  error         // how it ended; read only after done
}

// startProcess runs cmd with stdout and stderr appended to log. The program
// gets SIGTERM when this process dies, however it dies.
func startProcess(name string, cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}

	p := &process{name: name, log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal is tied to the thread that started the program, so
		// this goroutine keeps that thread until the program has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := errors.Join(cmd.Start(), out.Close())
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// waitReady looks until ready returns nil. It fails when the program ends
// first, when ctx does, or after [startTimeout], with the end of its log.
func (p *process) waitReady(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errStartTimeout)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("waiting for %s: ended at once: %w\n%s", p.name, p.err, tail(p.log))
		default:
		}
		if cause := retry.Wait(ctx, pollEvery); cause != nil {
			return fmt.Errorf("waiting for %s: %w (last answer: %w)\n%s", p.name, cause, err, tail(p.log))
		}
	}
}

// stop ends the program: SIGTERM, then SIGKILL after [stopGrace]. A program
// that has ended already is not an error.
func (p *process) stop(ctx context.Context) error {
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("stopping %s: still there %s after SIGTERM, killed\n%s", p.name, stopGrace, tail(p.log))
}

// tail returns the end of a log for an error or a test's output.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	defer func() { _ = file.Close() }() // only read
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return fmt.Sprintf("(no log: %v)", err)
		}
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return path + " ends with:\n" + strings.TrimSpace(string(text))
}

// Package process knows how to run the child processes of a step: each in a
// process group of its own, its output in one stream, ended by the ladder
// SIGINT, SIGTERM, SIGKILL when its context ends, and marked in its
// environment so that what it leaves behind can be found and ended.
//
// It talks to the operating system only.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/runner/internal/cgroup"
	"github.com/dockless-ci/dockless/runner/internal/conceal"
)

// Ladder is how long a process group may take to end after each signal.
type Ladder struct {
	Interrupt time.Duration // from SIGINT to SIGTERM
	Terminate time.Duration // from SIGTERM to SIGKILL
}

// DefaultLadder is what the service documents: 7.5 s and 2.5 s (protocol §8.14).
var DefaultLadder = Ladder{Interrupt: 7500 * time.Millisecond, Terminate: 2500 * time.Millisecond}

// Within returns the ladder shortened, in proportion, to at most total. A
// total of zero or less changes nothing.
func (l Ladder) Within(total time.Duration) Ladder {
	whole := l.Interrupt + l.Terminate
	if total <= 0 || whole <= total {
		return l
	}
	part := float64(total) / float64(whole)
	return Ladder{Interrupt: time.Duration(part * float64(l.Interrupt)), Terminate: time.Duration(part * float64(l.Terminate))}
}

const (
	// drainTimeout is how long output is awaited that grandchildren hold open
	// after the process itself ended (protocol §8.14).
	drainTimeout = 5 * time.Second
	// firstBuffer is what is read from a pipe at once at first, and bufferSize
	// what is read once a process fills that: a large log is bounded by the cost
	// of system calls, a step of one line by that of memory.
	firstBuffer, bufferSize = 4 << 10, 256 << 10
	// pipeSize is the capacity asked from the kernel for a pipe; 1 MiB is the
	// most an unprivileged process gets.
	pipeSize = 1 << 20
)

// Command is one process to run.
type Command struct {
	Path   string   // executable, as exec.Command takes it
	Args   []string // without the executable itself
	Dir    string
	Env    []string  // the whole environment
	Stdout io.Writer // takes both streams when Stderr is nil; each write is one read of the pipe
	Stderr io.Writer // may be nil; is written concurrently with Stdout
	// Ladder is asked when the process must end, so that it can depend on why.
	// Nil is [DefaultLadder].
	Ladder func() Ladder
	// Veil hides files from the process and all its children; nil: none.
	Veil *conceal.Veil
	// Group accounts the process and all its children; nil: nothing does.
	Group *cgroup.Group
}

// ExitError says that a process ended with another code than 0. Code is 128
// plus the number of the signal for a process that a signal ended.
type ExitError struct {
	Code     int
	Signaled bool // a signal ended it
}

func (e *ExitError) Error() string { return fmt.Sprintf("the process exited with code %d", e.Code) }

// Run runs c and waits until it has ended and its output was read, which is at
// most five seconds later. It returns an [*ExitError] when the process ended
// with another code than 0, the cause of ctx when ctx ended it, and any other
// error when the process could not be run.
func Run(ctx context.Context, c Command) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	cmd := exec.Command(c.Path, c.Args...) //nolint:noctx // the ladder ends it, more gently than a context could
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.SysProcAttr = attributes()
	readers, err := connect(cmd, c)
	if err != nil {
		return err
	}
	p := &running{cmd: cmd, veil: c.Veil, group: c.Group, started: make(chan error, 1), exited: make(chan struct{})}
	var watching sync.WaitGroup
	watching.Go(p.run)
	if err := <-p.started; err != nil {
		closeAll(readers)
		watching.Wait()
		return fmt.Errorf("starting %s: %w", c.Path, err)
	}
	for _, r := range readers {
		watching.Go(r.copy)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		ladder := DefaultLadder
		if c.Ladder != nil {
			ladder = c.Ladder()
		}
		p.end(ladder)
	}
	deadline := time.Now().Add(drainTimeout)
	for _, r := range readers {
		r.finish(deadline)
	}
	watching.Wait()
	closeAll(readers)
	if ctx.Err() != nil {
		p.signal(syscall.SIGKILL) // what did not end with its leader
		return context.Cause(ctx)
	}
	return p.result()
}

// running is a process between start and end.
type running struct {
	cmd     *exec.Cmd
	veil    *conceal.Veil
	group   *cgroup.Group
	started chan error    // takes one value
	exited  chan struct{} // closed by run when the process was waited for
	err     error         // of Wait; read after exited is closed
}

// run starts the process and waits for it on one operating-system thread. The
// kernel sends the parent-death signal when the thread that forked ends, not
// the process; a goroutine that could move would let it come too early. Beneath a
// veil it is the veil's thread that forks, which outlives the job's processes.
//
// The first thread of the process never forks into a group: while it is in one, the
// memory of the agent itself counts as the group's.
func (p *running) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if p.group != nil && onFirstThread() {
		var elsewhere sync.WaitGroup
		elsewhere.Go(p.run)
		elsewhere.Wait() // with the first thread, so that the other gets another
		return
	}
	defer close(p.exited)
	err := p.veil.Do(func() error { return p.group.Start(p.cmd) })
	closeWriters(p.cmd)
	p.started <- err
	if err == nil {
		p.err = p.cmd.Wait()
		p.group.Ended(p.cmd.ProcessState)
	}
}

// end climbs the ladder until the process has exited.
func (p *running) end(l Ladder) {
	l.climb(p.signal, p.exited)
	<-p.exited
}

// signal reaches the whole group; a group that is gone is no error. The group
// keeps its number as long as it has members, so the number cannot have been
// given to strangers while any of ours is left, and is not reused at once when
// none is.
func (p *running) signal(s syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, s) }

func (p *running) result() error {
	exit, ok := errors.AsType[*exec.ExitError](p.err)
	if !ok {
		return p.err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &ExitError{Code: 128 + int(status.Signal()), Signaled: true}
	}
	return &ExitError{Code: exit.ExitCode()}
}

// reader reads one pipe of a process.
type reader struct {
	pipe *os.File
	to   io.Writer
}

func connect(cmd *exec.Cmd, c Command) ([]*reader, error) {
	var readers []*reader
	open := func(to io.Writer) (*os.File, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("opening a pipe for the output of %s: %w", c.Path, err)
		}
		enlarge(r)
		readers = append(readers, &reader{pipe: r, to: to})
		return w, nil
	}
	out, err := open(c.Stdout)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	if c.Stderr != nil {
		errs, err := open(c.Stderr)
		if err != nil {
			closeAll(readers)
			closeWriters(cmd)
			return nil, err
		}
		cmd.Stderr = errs
	}
	return readers, nil
}

// copy passes on what the process writes until all writers have closed the
// pipe or the deadline is over. A target that fails loses the rest: the
// process must not hang on a full pipe because its log cannot be kept.
func (r *reader) copy() {
	buffer := make([]byte, firstBuffer)
	for {
		n, err := r.pipe.Read(buffer)
		if n > 0 && r.to != nil {
			if _, werr := r.to.Write(buffer[:n]); werr != nil {
				r.to = nil
			}
		}
		if err != nil {
			return
		}
		if n == len(buffer) && n < bufferSize {
			buffer = make([]byte, bufferSize)
		}
	}
}

// finish bounds the wait for the end of the output.
func (r *reader) finish(deadline time.Time) {
	// A pipe always takes a deadline; were it refused, the output would simply
	// be awaited until its last writer ends.
	_ = r.pipe.SetReadDeadline(deadline)
}

func closeAll(readers []*reader) {
	for _, r := range readers {
		_ = r.pipe.Close() // reading end: nothing can be lost
	}
}

// closeWriters closes our copies of the child's ends, without which the output
// would never end.
func closeWriters(cmd *exec.Cmd) {
	out, errs := cmd.Stdout.(*os.File), cmd.Stderr.(*os.File)
	_ = out.Close()
	if errs != out {
		_ = errs.Close()
	}
}

package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/cgroup"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

// doneTimeout is how long a process may go on after its task said that it is
// done (protocol §8.10).
const doneTimeout = 5 * time.Second

// program is one process of a step.
type program struct {
	path     string
	args     []string
	dir      string
	env      environment
	commands bool      // logging commands in its output are carried out; else they are made harmless
	noStderr bool      // anything on standard error is an error of the step
	file     io.Writer // takes a copy of the raw output; nil: none
	redraws  bool      // it draws progress over itself: only the last state of a line is kept
}

// process runs p with its output in the log of the step, in the control group of the
// step. Its errors are those of [process.Run], with what the kernel tells about the
// memory in a *memoryError, or errDone when the task ended itself early.
func (a *attempt) process(ctx context.Context, p program) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	execute := a.node.disarm
	if p.commands {
		execute = a.commands()
	}
	out := &splitter{n: a.node, execute: execute}
	if p.redraws {
		a.node.redrawn(true)
		defer a.node.redrawn(false)
	}
	var group *cgroup.Group // a container has its own
	if a.where == nil {
		group = a.group()
	}
	c := process.Command{
		Path: p.path, Args: p.args, Dir: p.dir, Env: p.env.list(), Stdout: out,
		Ladder: func() process.Ladder { return a.x.ladder(ctx) }, Veil: a.x.veil, Group: group,
	}
	if p.file != nil {
		c.Stdout = io.MultiWriter(out, p.file)
	}
	finish := out.finish
	if p.noStderr {
		errs := &complaints{n: a.node}
		errs.lines = &lines{emit: errs.line}
		errs.masked = a.x.masks.NewWriter(errs.lines)
		c.Stderr = errs
		finish = func() { out.finish(); errs.finish() }
	}
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-over:
			return
		case <-a.node.done:
		}
		timer := time.NewTimer(doneTimeout)
		defer timer.Stop()
		select {
		case <-over:
		case <-timer.C:
			cancel(errDone) // first: who holds the lock may wait for the process
			a.node.mute()
		}
	}()
	run := process.Run
	if a.where != nil {
		run = func(ctx context.Context, c process.Command) error { return a.where.run(ctx, c, a.account.guest) }
	}
	before := group.Kills()
	err := run(ctx, c)
	close(over)
	<-watched
	finish()
	if a.where != nil {
		return err // the container's own memory was judged there
	}
	return a.judge(p, err, before)
}

// ladder returns how the processes of the step are ended: faster when the job
// has little time left.
func (x *execution) ladder(ctx context.Context) process.Ladder {
	l := process.Ladder{Interrupt: x.cfg.Interrupt, Terminate: x.cfg.Terminate}
	if stop, ok := errors.AsType[*job.Stop](context.Cause(ctx)); ok {
		l = l.Within(stop.Grace / 2)
	}
	return l
}

// disarm shows a line that may be a logging command so that nobody who reads
// the log takes it for one: what programs of the agent's own print comes from
// repositories and images (language §5.4). The lock is held.
func (n *node) disarm(line []byte) bool {
	n.console.print(command.Disarm(string(line)))
	return true
}

// redrawn chooses what a CR means in what is printed from now on.
func (n *node) redrawn(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.console.flush()
	n.console.lines.redrawn = on
}

// mute drops all further output of processes.
func (n *node) mute() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf = true
}

// finishEarly is called when the task says that it is done. The lock is held.
func (n *node) finishEarly() {
	select {
	case <-n.done:
	default:
		close(n.done)
	}
}

// complaints takes standard error of a step for which any output there is an
// error. Its lines are masked as a stream, so that no secret is cut in two.
type complaints struct {
	n      *node
	masked io.WriteCloser
	lines  *lines
}

func (c *complaints) Write(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.masked.Write(p)
}

func (c *complaints) line(line []byte) {
	if text := strings.TrimSpace(string(line)); text != "" {
		c.n.fault(text)
		c.n.failed = true
	}
}

func (c *complaints) finish() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	_ = c.masked.Close() // the lines below never fail
	c.lines.finish()
}

// exitError returns the error for people when program name ended with err.
func exitError(name string, err error) error {
	if m, ok := errors.AsType[*memoryError](err); ok {
		return m.explain(name)
	}
	exit, ok := errors.AsType[*process.ExitError](err)
	if !ok {
		return err
	}
	return fmt.Errorf("%s exited with code '%d'.", name, exit.Code) //nolint:staticcheck // the service's sentence, shown as it is
}

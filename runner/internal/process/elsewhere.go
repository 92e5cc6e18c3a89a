package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// killTimeout is how long a process elsewhere may take to end after SIGKILL. The
// kernel needs milliseconds; a container that is paused or broken takes for ever.
const killTimeout = 10 * time.Second

// Elsewhere is a process that was started by somebody else, such as one in a
// container.
type Elsewhere interface {
	Signal(s syscall.Signal) // reaches its whole group; one that is gone is no error
	Wait() error             // returns when it has ended, as [Run] would; called once
	Close()                  // gives it up, and kills it when it has not ended
}

// RunElsewhere runs c as [Run] does, in a process that start makes. Start is given
// the ends that the process writes its output to; they are closed when it returns.
// The veil of c is not used: what the process can read is decided where it is.
func RunElsewhere(ctx context.Context, c Command, start func(stdout, stderr *os.File) (Elsewhere, error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var ends exec.Cmd // only carries them
	readers, err := connect(&ends, c)
	if err != nil {
		return err
	}
	p, err := start(ends.Stdout.(*os.File), ends.Stderr.(*os.File))
	closeWriters(&ends)
	if err != nil {
		closeAll(readers)
		return fmt.Errorf("starting %s: %w", c.Path, err)
	}
	defer p.Close()
	var watching sync.WaitGroup
	exited := make(chan struct{})
	watching.Go(func() {
		defer close(exited)
		err = p.Wait()
	})
	for _, r := range readers {
		watching.Go(r.copy)
	}
	select {
	case <-exited:
	case <-ctx.Done():
		ladder := DefaultLadder
		if c.Ladder != nil {
			ladder = c.Ladder()
		}
		ladder.climb(p.Signal, exited)
		abandon := time.AfterFunc(killTimeout, p.Close) // Wait ends with an error
		defer abandon.Stop()
		<-exited
	}
	deadline := time.Now().Add(drainTimeout)
	for _, r := range readers {
		r.finish(deadline)
	}
	watching.Wait()
	closeAll(readers)
	if ctx.Err() != nil {
		p.Signal(syscall.SIGKILL) // what did not end with its leader
		return context.Cause(ctx)
	}
	return err
}

// climb sends the signals of the ladder until the process has exited, and does not
// wait after the last one.
func (l Ladder) climb(signal func(syscall.Signal), exited <-chan struct{}) {
	for _, rung := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, l.Interrupt}, {syscall.SIGTERM, l.Terminate}} {
		signal(rung.signal)
		timer := time.NewTimer(rung.wait)
		select {
		case <-exited:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
	signal(syscall.SIGKILL)
}

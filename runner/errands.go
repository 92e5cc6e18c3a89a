package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/testtasks"
)

// mostErrands is how many commands of a step may wait for the server; a step
// that prints more of them is held up, as by a log that is not taken.
const mostErrands = 64

// errand is a logging command that talks to the server. It runs beside the step
// that printed it, after the errands before it, and says what it does through
// say; the step waits for it after its process ended (protocol §8.10).
type errand func(ctx context.Context, say func(line string)) error

// errands are those of one attempt, done one after another.
type errands struct {
	queue chan queuedErrand // closed by settle
	done  sync.WaitGroup

	sections []section // what they said; read after done
}

type queuedErrand struct {
	name string
	do   errand
}

// section is what one errand said, and how it ended.
type section struct {
	name  string
	lines []string
	err   error
}

// later queues what a command c has to do with the server, which must not use the
// node: the step may be held up here with the lock. The lock of the node
// is held.
func (a *attempt) later(c command.Command, do errand) {
	if a.errands == nil {
		e := &errands{queue: make(chan queuedErrand, mostErrands)}
		ctx := a.ctx
		e.done.Go(func() {
			for next := range e.queue {
				s := section{name: next.name}
				if ctx.Err() != nil {
					s.err = context.Cause(ctx)
				} else {
					s.err = next.do(ctx, func(line string) { s.lines = append(s.lines, line) })
				}
				e.sections = append(e.sections, s)
			}
		})
		a.errands = e
	}
	a.errands.queue <- queuedErrand{name: c.Name(), do: do}
}

// settle waits for the errands of the attempt and shows what they said. One that
// went wrong fails the step, unless all that it found is warnings.
func (a *attempt) settle() {
	a.node.mu.Lock()
	e := a.errands
	a.errands = nil
	a.node.mu.Unlock()
	if e == nil {
		return
	}
	close(e.queue)
	e.done.Wait()
	n := a.node
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range e.sections {
		n.console.print("##[section]Async Command Start: " + s.name)
		for _, line := range s.lines {
			n.console.print(command.Disarm(line))
		}
		if found, ok := errors.AsType[testtasks.FindingsError](s.err); ok {
			for _, i := range found {
				n.issue(i)
				n.failed = n.failed || i.Type == job.Error
			}
		} else if s.err != nil {
			n.issue(job.Issue{Type: job.Error, Message: fmt.Sprintf("Unable to process command '##vso[%s]' successfully: %v", s.name, s.err)})
			for _, advice := range hint.All(s.err) {
				n.console.print("hint: " + advice)
			}
			n.failed = true
		}
		n.console.print("##[section]Async Command End: " + s.name)
	}
}

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

const (
	// mostWaiting is how many commands of a step may wait for the server; a step
	// that prints more of them is held up, as by a log that is not taken.
	mostWaiting = 64
	// mostErrands is how many commands of a step may talk to the server in all. A
	// step with thousands of artifacts, tags or results to publish is one in a loop
	// that went wrong, which would keep the server busy for hours.
	mostErrands = 4000
)

// errand is a logging command that talks to the server. It runs beside the step
// that printed it, after the errands before it, and says what it does through
// say; the step waits for it after its process ended (protocol §8.10).
type errand func(ctx context.Context, say func(line string)) error

// errands are those of one attempt, done one after another by a goroutine that
// never takes the lock of the node. What they said is shown by who has that lock:
// by the next command, so that no more of it is kept than may wait, or by settle.
type errands struct {
	queue chan queuedErrand // closed by settle
	done  sync.WaitGroup
	count int // of all, guarded by the lock of the node

	mu       sync.Mutex
	sections []section // that were not shown yet
	missed   int       // errands that were not done, or not to their end
	why      error     // of those
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

var errEnoughErrands = fmt.Errorf("the step has used %d such commands already; this one and all after it are ignored", mostErrands)

// later queues what a command c has to do with the server, which must not use the
// node: the step may be held up here with the lock. It waits no longer than the
// step goes on. The lock of the node is held.
func (a *attempt) later(c command.Command, do errand) error {
	e := a.errands
	if e == nil {
		e = &errands{queue: make(chan queuedErrand, mostWaiting)}
		e.done.Go(func() { e.run(a.ctx) })
		a.errands = e
	}
	a.show(e.take())
	if e.count++; e.count > mostErrands {
		if e.count == mostErrands+1 {
			return errEnoughErrands
		}
		return nil
	}
	next := queuedErrand{name: c.Name(), do: do}
	select {
	case e.queue <- next:
		return nil
	default:
	}
	select {
	case e.queue <- next:
	case <-a.ctx.Done():
		e.miss(context.Cause(a.ctx))
	case <-a.node.done:
		e.miss(errDone)
	}
	return nil
}

// run does what is queued until the queue is closed. ctx is that of the step.
func (e *errands) run(ctx context.Context) {
	for next := range e.queue {
		if ctx.Err() != nil {
			e.miss(context.Cause(ctx))
			continue
		}
		s := section{name: next.name}
		s.err = next.do(ctx, func(line string) { s.lines = append(s.lines, line) })
		if s.err != nil && ctx.Err() != nil {
			e.miss(context.Cause(ctx)) // the command is not to blame
			s.err = nil
		}
		e.mu.Lock()
		e.sections = append(e.sections, s)
		e.mu.Unlock()
	}
}

// miss counts an errand that is not done.
func (e *errands) miss(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.missed++
	e.why = why
}

// take returns what was not shown yet.
func (e *errands) take() []section {
	e.mu.Lock()
	defer e.mu.Unlock()
	sections := e.sections
	e.sections = nil
	return sections
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
	a.show(e.take())
	if e.missed > 0 {
		what := "A logging command that talks to the server was not carried out"
		if e.missed > 1 {
			what = fmt.Sprintf("%d logging commands that talk to the server were not carried out", e.missed)
		}
		n.fault(what + ", because the step ended first: " + e.why.Error())
		n.failed = true
	}
}

// show prints sections. The lock of the node is held.
func (a *attempt) show(sections []section) {
	n := a.node
	for _, s := range sections {
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

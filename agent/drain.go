package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// Order tells an agent to stop. It is also the cause with which [Agent.Drain]
// ends the agent's work.
type Order struct { //nolint:errname // it is the cause of a context, never a failure
	// Reason says why, for people: a phrase such as "the machine is preempted".
	Reason string
	// Within is how long the process still has, its clean-up included; zero: as
	// the settings say.
	Within time.Duration
}

// Error returns the reason.
func (o Order) Error() string { return o.Reason }

// phase is how far an agent's end has come. It only ever grows:
//
//	working ──order──▶ draining ──deadline──▶ canceling ──job ended──▶ left
//	                       └──────────job ended, or none ran────────────▲
type phase int

const (
	working   phase = iota // takes jobs
	draining               // takes none; the running job may go on until the deadline
	canceling              // the running job was told to end, with its logs
	left                   // nothing runs any more
)

func (p phase) String() string {
	return [...]string{"working", "draining", "canceling", "left"}[p]
}

// ending is the state machine of an agent's end. Its methods may be called
// concurrently.
type ending struct {
	budget func(Order) time.Duration
	moved  func(phase) // is told of each new phase; must not block

	mu       sync.Mutex
	phase    phase
	reason   string        // of the order that set the deadline
	granted  time.Duration // that order's budget
	deadline time.Time     // when the running job is canceled
	changed  chan struct{} // closed and replaced when the deadline comes nearer
	stop     context.CancelCauseFunc
}

func newEnding(budget func(Order) time.Duration, moved func(phase)) *ending {
	return &ending{budget: budget, moved: moved, changed: make(chan struct{})}
}

// bind names what an order ends; one that came before counts too.
func (e *ending) bind(stop context.CancelCauseFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop = stop
	if e.phase != working {
		stop(Order{Reason: e.reason})
	}
}

// order starts the end. A later order may bring the deadline nearer, never put
// it off: who promised more time than there is cannot give it.
func (e *ending) order(o Order) {
	e.mu.Lock()
	defer e.mu.Unlock()
	granted := e.budget(o)
	deadline := time.Now().Add(granted)
	if e.phase != working && !deadline.Before(e.deadline) {
		return
	}
	e.move(draining)
	e.reason, e.granted, e.deadline = o.Reason, granted, deadline
	close(e.changed)
	e.changed = make(chan struct{})
	if e.stop != nil {
		e.stop(o)
	}
}

// reach notes that the end has come as far as p.
func (e *ending) reach(p phase) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.move(p)
}

// move is called with mu held.
func (e *ending) move(p phase) {
	if p > e.phase {
		e.phase = p
		e.moved(p)
	}
}

// told reports whether the agent takes no further job.
func (e *ending) told() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.phase != working
}

// due is what an order granted: until when the running job may go on, and a
// channel that is closed when that changes. Before any order, until is zero.
type due struct {
	cause   string // what happened, for people; empty: the agent was told to stop
	reason  string
	granted time.Duration
	until   time.Time
	changed <-chan struct{}
}

func (e *ending) due() due {
	e.mu.Lock()
	defer e.mu.Unlock()
	return due{reason: e.reason, granted: e.granted, until: e.deadline, changed: e.changed}
}

// Drain gives the agent the order to stop, as the end of Run's context does: it
// takes no further job, lets the running one end if it fits, cancels it
// otherwise, and leaves. An order may follow another one and shorten it. It does
// not wait, and may be called at any time and concurrently.
func (a *Agent) Drain(o Order) { a.end.order(o) }

// drainWhenTold waits for the order to stop and carries it out.
func (s *service) drainWhenTold(ctx, life context.Context) {
	select {
	case <-life.Done():
		return
	case <-ctx.Done():
	}
	if !s.end.told() { // Run's own context ended
		s.end.order(Order{Reason: context.Cause(ctx).Error()})
	}
	s.drain(life, due{}, func() {}) // the message loop goes on and beats for itself
}

// drain lets the running job finish and then leaves. Without an order, as when
// the session is lost for good, the job has until own. Turn is called every half
// minute of the wait, for whoever expects beats of the one who waits.
func (s *service) drain(ctx context.Context, own due, turn func()) {
	s.mu.Lock()
	s.parked = nil
	running := s.running
	s.mu.Unlock()
	if running != nil {
		s.letFinish(ctx, running, own, turn)
	}
	if s.end.told() {
		s.end.reach(left)
	}
	s.leave(errOver)
}

// letFinish returns when running has ended, by itself or because its time was
// over.
func (s *service) letFinish(ctx context.Context, running *work, own due, turn func()) {
	for {
		turn()
		d := s.end.due()
		if d.until.IsZero() || !own.until.IsZero() && own.until.Before(d.until) {
			d.cause, d.reason, d.granted, d.until = own.cause, own.reason, own.granted, own.until
		}
		s.log.InfoContext(ctx, "draining", "job_id", running.message.JobID, "budget", d.granted, "reason", d.reason)
		switch waitTurning(turn, time.Until(d.until), running.done, d.changed) {
		case running.done:
			return
		case d.changed:
			continue
		}
		s.log.WarnContext(ctx, "drain budget is over, canceling the job", "job_id", running.message.JobID, "budget", d.granted, "reason", d.reason)
		if s.end.told() {
			s.end.reach(canceling)
		}
		running.stop(&job.Stop{Reason: job.StopShutdown, Message: d.message()})
		waitTurning(turn, forever, running.done, nil) // bounded by the job's own kill timer, and that of its report
		return
	}
}

// forever is longer than anything takes.
const forever = time.Duration(math.MaxInt64)

// waitTurning waits until one of two channels is closed, and returns it, or until d
// is over and returns nil. It calls turn every half minute.
func waitTurning(turn func(), d time.Duration, one, other <-chan struct{}) <-chan struct{} {
	over := time.NewTimer(d)
	defer over.Stop()
	piece := time.NewTicker(MaxPollSilence / 4)
	defer piece.Stop()
	for {
		select {
		case <-one:
			return one
		case <-other:
			return other
		case <-over.C:
			return nil
		case <-piece.C:
			turn()
		}
	}
}

// message says to the developer whose job it was why it was canceled.
func (d due) message() string {
	text := cmp.Or(d.cause, "the agent was told to stop")
	if d.reason != "" {
		text += " (" + d.reason + ")"
	}
	if d.granted <= 0 {
		return text + " and had no time left for the job"
	}
	return fmt.Sprintf("%s and the job did not finish within its drain budget of %s", text, d.granted.Round(time.Millisecond))
}

// errOver is why the loops of a service end in good order.
var errOver = errors.New("the agent has nothing left to do")

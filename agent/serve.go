package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// service is the part of an agent's life in which it has a session.
type service struct {
	*Agent
	*registered
	// session is changed by the poll loop only, with mu held; that loop reads it
	// without.
	session ado.Session

	// The requests of the loops, which have rhythms of their own.
	open  func(context.Context) (ado.Session, error)
	next  func(context.Context, ado.MessageID) (*ado.Envelope, error)
	renew func(context.Context, job.RequestID) (ado.JobRequest, error)

	// leave ends the poll loop and everything that outlives the order to stop.
	leave context.CancelCauseFunc
	jobs  sync.WaitGroup

	mu      sync.Mutex
	running *work // nil: idle
	parked  *work // arrived while another was running
	taken   bool  // the one job of Config.Once arrived
	fatal   error // why a job ends the agent
}

// serve opens the session and works until ctx ends and the running job is done,
// until the only job is done, or until the service refuses for good. It has
// waited for everything when it returns.
//
// Polling goes on while the agent drains: the session stays alive, and somebody
// can still cancel the job. A job that arrives then is neither taken nor
// acknowledged, so the service gives it to another agent.
func (a *Agent) serve(ctx context.Context, r *registered) (err error) {
	s := &service{Agent: a, registered: r}
	s.open, s.next, s.renew = s.openOnce, s.pollOnce, s.renewOnce
	if s.session, err = s.openSession(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer s.closeSession(ctx)
	a.deps.Health.ready(true)
	defer a.deps.Health.ready(false)

	life, leave := context.WithCancelCause(context.WithoutCancel(ctx))
	defer leave(errOver)
	s.leave = leave
	var drained sync.WaitGroup
	drained.Go(func() { s.drainWhenTold(ctx, life) })
	err = s.poll(life)
	if err != nil {
		// The session is lost for good. Whatever runs has the usual budget.
		a.deps.Health.ready(false)
		budget := s.config.drainBudget(Order{})
		s.drain(context.WithoutCancel(ctx), due{cause: "the agent lost its session", reason: err.Error(), granted: budget, until: time.Now().Add(budget)}, a.deps.Health.poll)
	}
	s.jobs.Wait()
	leave(errOver)
	drained.Wait()
	if err != nil && s.end.told() {
		s.log.WarnContext(ctx, "the session was lost while the agent was leaving", "error", err)
		err = nil // it was to go anyway
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.tookJob = s.taken
	return errors.Join(err, s.fatal)
}

// openSession opens the session, and tries again while that may help (protocol
// §4.2).
func (s *service) openSession(ctx context.Context) (ado.Session, error) {
	started := time.Now()
	warned := false
	for {
		s.deps.Health.poll()
		session, err := s.open(ctx)
		s.deps.Health.poll()
		if err == nil {
			s.log.InfoContext(ctx, "session opened", "session_id", session.ID, "agent_id", s.agent.ID, "elapsed", time.Since(started))
			return session, nil
		}
		if ctx.Err() != nil {
			return session, context.Cause(ctx)
		}
		patience := s.timings.sessionPatience
		switch {
		case errors.Is(err, ado.ErrSessionConflict):
			patience = s.timings.sessionConflict
		case final(err), errors.Is(err, ado.ErrClockSkew):
			return session, advised(err)
		}
		if time.Since(started) >= patience {
			return session, fmt.Errorf("no session within %s: %w", patience, advised(err))
		}
		if !warned {
			s.log.WarnContext(ctx, "session could not be opened, trying again", "error", err, "pause", s.timings.sessionPause, "patience", patience)
			warned = true
		}
		pause := retry.Between(s.timings.sessionPause*9/10, s.timings.sessionPause)
		if err := retry.Wait(ctx, pause); err != nil {
			return session, err
		}
	}
}

func (s *service) openOnce(ctx context.Context) (ado.Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timings.poll, fmt.Errorf("opening a session took longer than %s", s.timings.poll))
	defer cancel()
	session, err := s.client.CreateSession(ctx, s.host, s.agent, s.offered)
	if err != nil && session.ID != "" { // it is open, and its messages would be unreadable
		err = errors.Join(err, s.client.DeleteSession(ctx, session.ID))
	}
	return session, err
}

// closeSession deletes the session; the agent is offline at once.
func (s *service) closeSession(ctx context.Context) {
	if s.session.ID == "" {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.timings.unregister,
		fmt.Errorf("deleting the session took longer than %s", s.timings.unregister))
	defer cancel()
	if err := s.client.DeleteSession(ctx, s.session.ID); err != nil {
		s.log.WarnContext(ctx, "session was not deleted and will expire", "session_id", s.session.ID, "error", err)
		return
	}
	s.log.InfoContext(ctx, "session deleted", "session_id", s.session.ID)
}

// final reports whether no repetition helps (protocol §4.2, §5.6).
func final(err error) bool {
	for _, cause := range []error{
		ado.ErrRevoked, ado.ErrAgentNotFound, ado.ErrPoolNotFound, ado.ErrAccessDenied, ado.ErrUnauthorized,
	} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

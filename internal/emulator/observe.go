package emulator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dockless-ci/dockless/internal/job"
)

// ErrNoJob is returned for a job id that the server does not know.
var ErrNoJob = errors.New("no such job")

// Status is where a job is (design §9). Dates that have not come yet are null.
type Status struct {
	Run        int            `json:"run"`
	ID         job.ID         `json:"id"`
	Name       string         `json:"name"`
	RequestID  job.RequestID  `json:"requestId"`
	PlanID     job.PlanID     `json:"planId"`
	TimelineID job.TimelineID `json:"timelineId"`
	State      State          `json:"state"`
	Result     job.Result     `json:"result,omitempty"`
	Reason     string         `json:"reason,omitempty"` // why it was skipped, could not start or was canceled by the server
	Agent      string         `json:"agent,omitempty"`
	QueuedAt   job.Time       `json:"queuedAt"`
	AssignedAt job.Time       `json:"assignedAt"`
	StartedAt  job.Time       `json:"startedAt"` // first renewal
	FinishedAt job.Time       `json:"finishedAt"`
	Violations []Violation    `json:"violations,omitempty"`
}

// find returns the job, nil when there is none.
func (s *Server) find(id job.ID) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id]
}

// Job returns where a job is, or [ErrNoJob].
func (s *Server) Job(id job.ID) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.jobs[id]
	if q == nil {
		return Status{}, fmt.Errorf("job %s: %w", id, ErrNoJob)
	}
	return s.status(q), nil
}

// Jobs returns every job, oldest first.
func (s *Server) Jobs() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.order))
	for _, q := range s.order {
		out = append(out, s.status(q))
	}
	return out
}

func (s *Server) status(q *request) Status {
	st := Status{
		Run: q.run.id, ID: q.job, Name: q.label, RequestID: q.id, PlanID: q.plan.id, TimelineID: q.plan.timeline,
		State: q.state, Result: q.result, Reason: q.reason, Agent: q.agentName,
		QueuedAt: job.At(q.queued), AssignedAt: job.At(q.assigned), StartedAt: job.At(q.started), FinishedAt: job.At(q.finished),
	}
	for _, v := range s.violations {
		if v.Job == string(q.job) {
			st.Violations = append(st.Violations, v)
		}
	}
	return st
}

// Await blocks until the job is in the state or past it, and returns where it
// is then. It fails with [ErrNoJob] or with the cause of ctx.
func (s *Server) Await(ctx context.Context, id job.ID, state State) (Status, error) {
	order := []State{Queued, Assigned, Running, Completed}
	for {
		s.mu.Lock()
		q := s.jobs[id]
		if q == nil {
			s.mu.Unlock()
			return Status{}, fmt.Errorf("job %s: %w", id, ErrNoJob)
		}
		st, changed := s.status(q), q.changed
		s.mu.Unlock()
		if slices.Index(order, st.State) >= slices.Index(order, state) {
			return st, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return st, fmt.Errorf("waiting for job %s to be %s (it is %s): %w", id, state, st.State, context.Cause(ctx))
		}
	}
}

// Calls returns the calls made for a job, in the order of the answers.
func (s *Server) Calls(id job.ID) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.jobs[id]; q != nil {
		return slices.Clone(q.calls)
	}
	return nil
}

// FinishAttempts returns how often an agent tried to end the job, by event or
// by finishing its request, refused attempts included.
func (s *Server) FinishAttempts(id job.ID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.jobs[id]; q != nil {
		return q.finishAttempts
	}
	return 0
}

// WhenStarted calls do when the job's record goes in progress, in the call that
// says so and before its answer; at once when that has happened already.
func (s *Server) WhenStarted(id job.ID, do func(job.ID)) {
	s.mu.Lock()
	q := s.jobs[id]
	started := q != nil && q.jobRecordSeen
	if q != nil && !started {
		q.whenStarted = append(q.whenStarted, do)
	}
	s.mu.Unlock()
	if started {
		do(id)
	}
}

// LoseLock takes the job away from its agent: it is abandoned at once, and the
// next renewal answers that the lock is lost (S8).
func (s *Server) LoseLock(id job.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseLock(s.jobs[id])
}

// loseLock is [Server.LoseLock] for a job that may be nil. The caller holds s.mu.
func (s *Server) loseLock(q *request) {
	if q != nil && q.active() {
		q.lost = true
		s.expireLock(q, s.now())
	}
}

// HoldRenewals makes renewals of the job wait until release is called, so that
// its agent must not start it (S15). Calling release again does nothing.
func (s *Server) HoldRenewals(id job.ID) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.jobs[id]
	if q == nil {
		return func() {}
	}
	held := make(chan struct{})
	q.held = held
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if q.held == held {
			q.held = nil
			close(held)
		}
	}
}

// ExpireSessions ends the session of every agent, as if nobody had polled for
// too long; polls being held are refused.
func (s *Server) ExpireSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sess := range s.sessions {
		s.endSession(sess, "expired on demand")
	}
}

// Agents returns the names of the registered agents and whether each is online.
func (s *Server) Agents() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]bool)
	for _, a := range s.agents {
		out[a.wire.Name] = a.session != nil && !s.sessionExpired(a.session, s.now())
	}
	return out
}

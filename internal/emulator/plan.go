package emulator

import (
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// plan is the orchestration of one run: its timelines, logs and attachments.
type plan struct {
	id          job.PlanID
	scope       string // project
	hub         string // plan type
	version     int
	group       string
	timeline    job.TimelineID // the main one
	timelines   map[job.TimelineID]*timeline
	logs        map[int]*storedLog
	attachments []*attachment
}

// planOf finds the plan of a route and, for a job token, the job, and checks
// that the job may use it now. The caller holds s.mu.
func (s *Server) planOf(c *call) (*plan, *request, error) {
	text := c.v("planId")
	p := s.plans[job.PlanID(guid(text))]
	if p == nil || guid(c.v("scopeIdentifier")) != p.scope || !strings.EqualFold(c.v("hubName"), p.hub) {
		return nil, nil, planNotFound(text)
	}
	if c.who.kind != byJob {
		return p, nil, nil
	}
	q, err := s.jobOf(c)
	if err != nil {
		return nil, nil, err
	}
	if q.plan != p {
		return nil, nil, planForbidden("The job token opens plan %s only.", q.plan.id)
	}
	return p, q, nil
}

// checkPlan is [Server.planOf] before the body was read. It counts attempts to
// complete a job, refused ones included.
func (s *Server) checkPlan(c *call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.jobs[c.who.job]; q != nil && c.where.resource == "events" {
		q.finishAttempts++
	}
	_, _, err := s.planOf(c)
	return err
}

// jobOf finds the running job of a job token. After its completion every call
// is refused (S12), and before the first renewal nothing of it may run (§7.1).
// The caller holds s.mu.
func (s *Server) jobOf(c *call) (*request, error) {
	q := s.jobs[c.who.job]
	if q == nil {
		return nil, planForbidden("The job token belongs to no job.")
	}
	c.job = q
	s.expireLock(q, s.now())
	switch {
	case q.state == Completed && q.result == job.Abandoned:
		return nil, planForbidden("The job %s was abandoned; its token opens nothing any more.", q.job)
	case q.state == Completed:
		return nil, planNotFound(string(q.plan.id))
	case q.state == Queued:
		return nil, planForbidden("The job %s was taken back.", q.job)
	}
	return q, nil
}

// started is [Server.planOf] for calls that change something: none may come
// before the first renewal.
func (s *Server) started(c *call) (*plan, *request, error) {
	p, q, err := s.planOf(c)
	if err != nil {
		return nil, nil, err
	}
	if q.state != Running {
		return nil, nil, s.wrongOrder(q, "§7.1", "%s %s before the first renewal of request %d", c.r.Method, c.where.resource, q.id)
	}
	return p, q, nil
}

type planWire struct {
	ScopeIdentifier string            `json:"scopeIdentifier"`
	PlanType        string            `json:"planType"`
	PlanID          job.PlanID        `json:"planId"`
	PlanGroup       string            `json:"planGroup,omitempty"`
	Version         int               `json:"version"`
	Timeline        map[string]string `json:"timeline"`
}

func (s *Server) getPlan(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _, err := s.planOf(c)
	if err != nil {
		return nil, err
	}
	return planWire{
		ScopeIdentifier: p.scope, PlanType: p.hub, PlanID: p.id, PlanGroup: p.group, Version: p.version,
		Timeline: map[string]string{"id": string(p.timeline)},
	}, nil
}

// settle closes the records that a job left open, as the service does when
// nobody will. It also makes the job's own record when there is none, so that a
// job nobody took has a record too.
func (p *plan) settle(q *request, now time.Time) {
	open := job.Result(job.Canceled)
	if q.result == job.Abandoned {
		open = job.Abandoned
	}
	t := p.timelines[p.timeline]
	t.change++
	if r := t.records[q.job.Record()]; r == nil {
		kind, pending := job.TypeJob, job.Pending
		t.merge(recordWire{ID: q.job.Record(), Type: &kind, Name: &q.title, RefName: &q.name, State: &pending}, q, now)
	}
	t.explain(q, now)
	for _, r := range t.order {
		if r.job != q || value(r.wire.State) == job.Completed {
			continue
		}
		done, result := job.Completed, open
		if r.wire.ID == q.job.Record() {
			result = q.result
		}
		t.merge(recordWire{ID: r.wire.ID, State: &done, Result: &result, FinishTime: date(now)}, q, now)
	}
}

// explain adds why the server ended the job to the job's record, as an error that
// a user sees. Why a job was skipped is no error.
func (t *timeline) explain(q *request, now time.Time) {
	if q.reason == "" || q.result == job.Skipped {
		return
	}
	own := t.records[q.job.Record()].wire
	issues := append(slices.Clone(value(own.Issues)), job.Issue{Type: job.Error, Message: q.reason})
	count := value(own.ErrorCount) + 1
	t.merge(recordWire{ID: own.ID, Issues: &issues, ErrorCount: &count}, q, now)
}

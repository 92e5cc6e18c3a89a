package emulator

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// requestWire is a job request (§11.2). Members without a value are left out.
type requestWire struct {
	RequestID       job.RequestID     `json:"requestId"`
	QueueTime       *job.Time         `json:"queueTime,omitempty"`
	AssignTime      *job.Time         `json:"assignTime,omitempty"`
	ReceiveTime     *job.Time         `json:"receiveTime,omitempty"`
	FinishTime      *job.Time         `json:"finishTime,omitempty"`
	Result          job.Result        `json:"result,omitempty"`
	LockedUntil     *job.Time         `json:"lockedUntil,omitempty"`
	ServiceOwner    string            `json:"serviceOwner"`
	HostID          string            `json:"hostId"`
	ScopeID         string            `json:"scopeId"`
	PlanType        string            `json:"planType"`
	PlanID          job.PlanID        `json:"planId"`
	PlanGroup       string            `json:"planGroup,omitempty"`
	JobID           job.ID            `json:"jobId"`
	JobName         string            `json:"jobName,omitempty"`
	Demands         []string          `json:"demands"`
	ReservedAgent   *agentWire        `json:"reservedAgent,omitempty"`
	MatchedAgents   []agentWire       `json:"matchedAgents,omitempty"`
	Definition      *reference        `json:"definition,omitempty"`
	Owner           *reference        `json:"owner,omitempty"`
	Data            map[string]string `json:"data"`
	PoolID          int               `json:"poolId"`
	OrchestrationID string            `json:"orchestrationId"`
	Priority        int               `json:"priority"`
}

type reference struct {
	ID    int            `json:"id"`
	Name  string         `json:"name"`
	Links map[string]any `json:"_links"`
}

// serviceOwner is the well-known id of Azure Pipelines in connection data (§1.2).
const serviceOwner = "00025394-6065-48ca-87d9-7f5672854ef7"

// maxMatched bounds how many matching agents a request lists: a thousand
// waiting jobs times a thousand agents would be a hundred megabytes.
const maxMatched = 50

func date(t time.Time) *job.Time {
	if t.IsZero() {
		return nil
	}
	at := job.At(t)
	return &at
}

// brief is an agent inside another object.
func (s *Server) brief(a *agent) agentWire {
	out := agentWire{ID: a.id, Name: a.wire.Name, Version: a.wire.Version, Enabled: a.wire.Enabled, Status: "offline", ProvisioningState: a.wire.ProvisioningState}
	if a.session != nil {
		out.Status = "online"
	}
	return out
}

func (s *Server) requestWire(q *request) requestWire {
	out := requestWire{
		RequestID: q.id, QueueTime: date(s.shown(q.queued)), AssignTime: date(s.shown(q.assigned)), ReceiveTime: date(s.shown(q.received)), FinishTime: date(s.shown(q.finished)),
		Result: q.result, LockedUntil: date(s.shown(q.lockedUntil)), ServiceOwner: serviceOwner, HostID: s.instance,
		ScopeID: q.plan.scope, PlanType: q.plan.hub, PlanID: q.plan.id, PlanGroup: q.plan.group, JobID: q.job, JobName: q.name,
		Demands: q.demands, Data: map[string]string{"ParallelismTag": "Private", "IsScheduledKey": "False"},
		PoolID: q.pool.id, OrchestrationID: string(q.plan.id) + "." + strings.ToLower(q.name) + ".__default",
		Definition: &reference{ID: q.run.definition, Name: q.run.name, Links: map[string]any{}},
		Owner:      &reference{ID: q.run.id, Name: q.run.number, Links: map[string]any{}},
	}
	if out.Demands == nil {
		out.Demands = []string{}
	}
	if q.agent != nil {
		a := s.brief(q.agent)
		out.ReservedAgent = &a
	}
	return out
}

// getRequests answers one request, or the pool's in the three forms of §11.2.
func (s *Server) getRequests(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.poolOf(c)
	if err != nil {
		return nil, err
	}
	if text := c.v("requestId"); text != "" {
		q := s.requestIn(p, text)
		if q == nil {
			return nil, requestNotFound(text)
		}
		c.job = q
		return s.requestWire(q), nil
	}
	top, completed := -1, -1
	for name, to := range map[string]*int{"$top": &top, "completedRequestCount": &completed} {
		if text := c.q(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil || *to < 0 {
				return nil, badRequest("%s %q is no number.", name, text)
			}
		}
	}
	return listOf(s.listRequests(p, top, completed)), nil
}

// listRequests returns unfinished requests, oldest first, then at most completed
// finished ones, newest first; -1 is no bound.
func (s *Server) listRequests(p *pool, top, completed int) []requestWire {
	var open, done []requestWire
	for _, q := range s.order {
		if q.pool != p || q.blocked {
			continue // it waits for other jobs, not for an agent
		}
		w := s.requestWire(q)
		if q.state == Completed {
			done = append(done, w)
			continue
		}
		for _, a := range p.members {
			if len(w.MatchedAgents) == maxMatched {
				break
			}
			if *a.wire.Enabled && a.satisfies(q.demands) {
				w.MatchedAgents = append(w.MatchedAgents, s.brief(a))
			}
		}
		open = append(open, w)
	}
	slices.SortStableFunc(done, func(a, b requestWire) int { return cmp.Compare(b.FinishTime.UnixNano(), a.FinishTime.UnixNano()) })
	if completed >= 0 {
		done = done[:min(completed, len(done))]
	}
	all := append(open, done...)
	if top >= 0 {
		all = all[:min(top, len(all))]
	}
	return all
}

func (s *Server) requestIn(p *pool, text string) *request {
	id, err := strconv.ParseInt(text, 10, 64)
	q := s.requests[job.RequestID(id)]
	if err != nil || q == nil || q.pool != p {
		return nil
	}
	return q
}

package emulator

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// State is where a job is in its life.
type State string

// The states of a job (design §9).
const (
	Queued    State = "queued"    // waits for an agent, or for the jobs it depends on
	Assigned  State = "assigned"  // an agent was chosen; its message is in the queue
	Running   State = "running"   // the agent renewed the lock for the first time
	Completed State = "completed" // has a result
)

// request is the pool's record of one job and everything known about the job.
type request struct {
	id      job.RequestID
	job     job.ID
	name    string        // reference name
	title   string        // display name
	label   string        // what control calls show: the name within the run
	group   string        // of a pipeline's job: the label without the leg
	reason  string        // why it was skipped or could not start
	timeout time.Duration // canceled when it runs for longer; 0: never
	grace   time.Duration // time for graceful exit in a cancellation
	pool    *pool
	plan    *plan
	run     *run
	demands []string
	doc     map[string]any // the message, completed when it is sent
	steps   []job.RecordID
	plain   map[string]string // variables of the message that are no secrets

	blocked     bool // waits for other jobs of its run, not for an agent
	state       State
	result      job.Result
	agent       *agent // set while assigned or running
	agentName   string
	queued      time.Time
	assigned    time.Time
	received    time.Time
	started     time.Time // first renewal
	finished    time.Time
	lockedUntil time.Time
	lost        bool          // LoseLock was called
	canceled    bool          // a cancellation was sent
	held        chan struct{} // renewals wait until it is closed; nil: not held

	changed        chan struct{} // closed and replaced when anything above changes or lines arrive
	whenStarted    []func(job.ID)
	jobRecordSeen  bool // the job's record went inProgress
	finishAttempts int
	calls          []Call
	feed           *appendFile
	feedNext       map[job.RecordID]int // next expected line of each step that was fed
}

// notify wakes everybody who waits for the job.
func (q *request) notify() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// receive marks the job as picked up, which autoscalers read (§11.2).
func (q *request) receive(now time.Time) {
	if q.received.IsZero() {
		q.received = now
	}
}

// active reports whether an agent has the job.
func (q *request) active() bool { return q.state == Assigned || q.state == Running }

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
		RequestID: q.id, QueueTime: date(q.queued), AssignTime: date(q.assigned), ReceiveTime: date(q.received), FinishTime: date(q.finished),
		Result: q.result, LockedUntil: date(q.lockedUntil), ServiceOwner: serviceOwner, HostID: s.instance,
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

// updateRequest renews a lock (§7.1) or, for an old plan, finishes the request (§7.10b).
func (s *Server) updateRequest(c *call) (any, error) {
	var in struct {
		RequestID  job.RequestID `json:"requestId"`
		Result     job.Result    `json:"result"`
		FinishTime *job.Time     `json:"finishTime"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	finishing := in.Result != "" || in.FinishTime != nil && !in.FinishTime.IsZero()
	if c.note = "renew"; finishing {
		c.note = "finish " + string(in.Result)
	}
	if err := s.waitHeld(c, finishing); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.ownRequest(c)
	if err != nil {
		return nil, err
	}
	if in.RequestID != q.id {
		return nil, badRequest("The body is request %d, the route request %d (§7.1).", in.RequestID, q.id)
	}
	if token := c.q("lockToken"); token != zeroGUID {
		return nil, s.wrongOrder(q, "§7.1", "the lock token is %q, not the zero GUID", token)
	}
	if finishing {
		return s.finishRequest(q, in.Result)
	}
	q.lockedUntil = s.now().Add(s.cfg.LockDuration)
	if q.state == Assigned {
		q.state, q.started = Running, s.now()
		q.receive(q.started)
	}
	q.notify()
	return s.requestWire(q), nil
}

// ownRequest finds the request of a route and checks that it is the caller's
// and still locked. The caller holds s.mu.
func (s *Server) ownRequest(c *call) (*request, error) {
	a, err := s.self(c)
	if err != nil {
		return nil, err
	}
	q := s.requestIn(a.pool, c.v("requestId"))
	if q == nil {
		return nil, requestNotFound(c.v("requestId"))
	}
	c.job = q
	s.expireLock(q, s.now())
	switch {
	case q.lost || q.result == job.Abandoned:
		return nil, lockLost(q.id)
	case q.agent != a || !q.active():
		return nil, requestNotFound(c.v("requestId")) // finished, or another agent's
	}
	return q, nil
}

// waitHeld blocks a renewal that a test holds back (S15).
func (s *Server) waitHeld(c *call, finishing bool) error {
	s.mu.Lock()
	var held chan struct{}
	if id, err := strconv.ParseInt(c.v("requestId"), 10, 64); err == nil && !finishing {
		if q := s.requests[job.RequestID(id)]; q != nil {
			held = q.held
		}
	}
	s.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-c.r.Context().Done():
		return badRequest("The caller went away.")
	case <-s.closed:
		return refuse(http.StatusServiceUnavailable, "VssServiceException", "The server is stopping.")
	}
}

// finishRequest ends a job of an old plan. Later plans end with an event.
func (s *Server) finishRequest(q *request, result job.Result) (any, error) {
	q.finishAttempts++
	if q.plan.version >= eventVersion {
		return nil, s.wrongOrder(q, "§7.10", "the request of a plan of version %d was finished by PATCH; it ends with the JobCompleted event", q.plan.version)
	}
	if result == "" {
		return nil, badRequest("The request has a finish time and no result (§7.10).")
	}
	if q.started.IsZero() && result != job.Canceled {
		return nil, s.wrongOrder(q, "§7.1", "the request was finished before its first renewal")
	}
	s.finish(q, result)
	return s.requestWire(q), nil
}

// expireJob cancels a job that runs for too long, as the service does (§8.14).
func (s *Server) expireJob(q *request, now time.Time) {
	if q.state == Running && !q.canceled && q.timeout > 0 && now.Sub(q.started) > q.timeout {
		s.log.Info("job timed out", "request_id", int64(q.id), "job_id", string(q.job), "timeout", q.timeout)
		s.cancel(q)
	}
}

// expireLock takes a job from an agent that stopped renewing. A job that was
// never picked up is sent again; one that was is abandoned.
func (s *Server) expireLock(q *request, now time.Time) {
	if !q.active() || !q.lost && !now.After(q.lockedUntil.Add(s.cfg.LockGrace)) {
		return
	}
	if !q.lost && q.started.IsZero() && s.takeMessage(q) {
		s.requeue(q)
		return
	}
	s.log.Info("job abandoned", "request_id", int64(q.id), "job_id", string(q.job), "locked_until", q.lockedUntil)
	s.finish(q, job.Abandoned)
}

// finish ends a job with a result, frees its agent and starts what waited.
func (s *Server) finish(q *request, result job.Result) {
	s.end(q, result)
	if q.run.finished != nil {
		q.run.finished(q)
	}
	s.assign(q.pool)
}

// end records the result of a job and frees its agent.
func (s *Server) end(q *request, result job.Result) {
	a := q.agent
	q.blocked = false
	q.state, q.result, q.finished, q.agent = Completed, result, s.now(), nil
	q.plan.settle(q, q.finished)
	if a != nil {
		a.request = nil
	}
	if err := q.feed.close(); err != nil {
		s.log.Error("feed cannot be closed", "job_id", string(q.job), "err", err)
	}
	s.log.Info("job completed", "request_id", int64(q.id), "job_id", string(q.job), "result", string(result))
	q.notify()
}

// giveBack returns the job that a leaving agent has not started to the queue.
func (s *Server) giveBack(a *agent) {
	if q := a.request; q != nil && q.state == Assigned && s.takeMessage(q) {
		s.requeue(q)
	}
}

// takeMessage removes the job's undeleted message and reports whether there was one.
func (s *Server) takeMessage(q *request) bool {
	before := len(q.agent.messages)
	q.agent.messages = slices.DeleteFunc(q.agent.messages, func(m *message) bool { return m.kind == messageJob && m.request == q })
	return len(q.agent.messages) < before
}

// requeue makes an assigned job wait again, in front of the others.
func (s *Server) requeue(q *request) {
	q.agent.request = nil
	q.state, q.agent, q.assigned, q.lockedUntil = Queued, nil, time.Time{}, time.Time{}
	q.pool.waiting = slices.Insert(q.pool.waiting, 0, q)
	q.notify()
	s.assign(q.pool)
}

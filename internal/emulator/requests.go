package emulator

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
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
	reason  string        // why it was skipped, could not start or was canceled by the server
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
	feedNext       map[job.RecordID]int              // next expected line of each step that was fed
	tails          map[job.RecordID]*statuspage.Tail // of live lines, by step
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
		return stopping()
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
		q.reason = fmt.Sprintf("the job ran for longer than %s, its timeoutInMinutes", q.timeout)
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
	s.endTails(q)
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

// requeue makes an assigned job wait again, in front of the others. One that was
// canceled meanwhile is over instead.
func (s *Server) requeue(q *request) {
	if q.canceled {
		q.agent.messages = slices.DeleteFunc(q.agent.messages, func(m *message) bool { return m.request == q })
		s.finish(q, job.Canceled)
		return
	}
	q.agent.request = nil
	q.state, q.agent, q.assigned, q.lockedUntil = Queued, nil, time.Time{}, time.Time{}
	q.pool.waiting = slices.Insert(q.pool.waiting, 0, q)
	q.notify()
	s.assign(q.pool)
}

package emulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/dockless-ci/dockless/internal/job"
)

// Requirements say who may run a queued job.
type Requirements struct {
	Pool    string   // name; empty: the first pool
	Demands []string // as a pipeline writes them, for example "docker" or "Agent.OS -equals Linux"
}

// Run is what queuing answers (design §9).
type Run struct {
	Run      int         `json:"run"`
	Jobs     []QueuedJob `json:"jobs"`
	Warnings []string    `json:"warnings,omitempty"` // what the pipeline says and nobody here does
}

// QueuedJob names one job of a run.
type QueuedJob struct {
	ID         job.ID         `json:"id"`
	Name       string         `json:"name"`
	RequestID  job.RequestID  `json:"requestId"`
	PlanID     job.PlanID     `json:"planId"`
	TimelineID job.TimelineID `json:"timelineId"`
}

// run is one pipeline run: its jobs and what its build API keeps.
type run struct {
	id         int
	name       string // of the definition
	definition int
	number     string
	tags       []string
	artifacts  []artifact
	coverage   []job.Coverage
	items      map[string]*containerItem
	requests   []*request
	warnings   []string
	finished   func(*request) // told when a job ended; nil: the jobs are independent
}

// containerID is the run's file container. Its numbers are far from all others.
func (r *run) containerID() int { return 77000 + r.id }

// eventVersion is the plan version from which on a job ends with an event (§6.3).
const eventVersion = 8

// defaultPlanVersion is what known samples carry (§6.3).
const defaultPlanVersion = 9

// projectID stands for the project of a message that names none.
const projectID = "a3e8b7f2-60b1-4c41-8c2d-0f4d1e1b9a01"

// Queue hands the server one job. The message gets a request, a lock, the
// system connection with a job token, and what else only a server knows; all
// its other members reach the agent as they are. A job whose id is known gets
// new ids, so that one message may be queued many times.
func (s *Server) Queue(m *job.Message, need Requirements) (Run, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return Run{}, fmt.Errorf("queuing job %s: %w", m.JobID, err)
	}
	return s.QueueJSON(body, need)
}

// QueueJSON is [Server.Queue] for a message as captured from a server. Members
// this package does not know are kept.
func (s *Server) QueueJSON(body []byte, need Requirements) (Run, error) {
	m, err := job.Decode(body)
	if err != nil {
		return Run{}, fmt.Errorf("queuing a job: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[job.ID(guid(string(m.JobID)))] != nil {
		body = bytes.ReplaceAll(body, []byte(m.JobID), []byte(newGUID()))
		if _, known := s.plans[job.PlanID(guid(string(m.Plan.PlanID)))]; known {
			body = bytes.ReplaceAll(body, []byte(m.Plan.PlanID), []byte(newGUID()))
		}
		if m, err = job.Decode(body); err != nil {
			return Run{}, fmt.Errorf("queuing a job again: %w", err)
		}
	}
	r := s.newRun(m)
	q, err := s.newRequest(r, m, need)
	if err != nil {
		delete(s.runs, r.id)
		return Run{}, fmt.Errorf("queuing job %s: %w", m.JobID, err)
	}
	if err := s.fill(q, body, m); err != nil {
		return Run{}, err
	}
	s.enqueue(q)
	return r.info(), nil
}

func (r *run) info() Run {
	out := Run{Run: r.id, Jobs: []QueuedJob{}, Warnings: r.warnings}
	for _, q := range r.requests {
		out.Jobs = append(out.Jobs, QueuedJob{ID: q.job, Name: q.label, RequestID: q.id, PlanID: q.plan.id, TimelineID: q.plan.timeline})
	}
	return out
}

// newRun makes a run for a message. A message that carries a build id keeps it,
// because scripts and build calls use it.
func (s *Server) newRun(m *job.Message) *run {
	r := &run{id: s.nextRun, name: "pipeline", definition: 7, items: make(map[string]*containerItem)}
	s.nextRun++
	if v, ok := job.Lookup(m.Variables, "build.buildId"); ok {
		if id, err := strconv.Atoi(v.Value); err == nil && s.runs[id] == nil {
			r.id = id
		}
	}
	for s.runs[r.id] != nil {
		r.id, s.nextRun = s.nextRun, s.nextRun+1
	}
	if m.Plan.Definition != nil {
		r.definition, r.name = m.Plan.Definition.ID, m.Plan.Definition.Name
	}
	r.number = s.now().Format("20060102") + "." + strconv.Itoa(r.id)
	if v, ok := job.Lookup(m.Variables, "build.buildNumber"); ok {
		r.number = v.Value
	}
	s.runs[r.id] = r
	return r
}

// newRequest registers a job of a run. The caller holds s.mu.
func (s *Server) newRequest(r *run, m *job.Message, need Requirements) (*request, error) {
	p := s.pools[0]
	if need.Pool != "" {
		if p = s.poolNamed(need.Pool); p == nil {
			return nil, fmt.Errorf("there is no pool %q", need.Pool)
		}
	}
	id := guid(string(m.JobID))
	if id == "" {
		return nil, fmt.Errorf("the job id %q is no GUID", m.JobID)
	}
	pl, err := s.planFor(m)
	if err != nil {
		return nil, err
	}
	q := &request{
		id: s.nextRequest, job: job.ID(id), name: cmp.Or(m.JobName, "__default"), pool: p, plan: pl, run: r,
		demands: need.Demands, state: Queued, queued: s.now(), changed: make(chan struct{}), feedNext: make(map[job.RecordID]int),
		feed: &appendFile{path: filepath.Join(s.dir, "feeds", id+".jsonl")},
	}
	q.title, q.label = cmp.Or(m.JobDisplayName, q.name), q.name
	s.nextRequest++
	s.requests[q.id], s.jobs[q.job] = q, q
	s.order = append(s.order, q)
	r.requests = append(r.requests, q)
	return q, nil
}

// planFor finds or makes the plan of a message.
func (s *Server) planFor(m *job.Message) (*plan, error) {
	id, timelineID, scope := guid(string(m.Plan.PlanID)), guid(string(m.Timeline.ID)), guid(cmp.Or(m.Plan.ScopeIdentifier, projectID))
	if id == "" || timelineID == "" || scope == "" {
		return nil, errors.New("planId, timeline id or scopeIdentifier of the message is no GUID")
	}
	if p := s.plans[job.PlanID(id)]; p != nil {
		return p, nil
	}
	p := &plan{
		id: job.PlanID(id), scope: scope, hub: cmp.Or(m.Plan.PlanType, "Build"), version: cmp.Or(m.Plan.Version, defaultPlanVersion),
		group: m.Plan.PlanGroup, timeline: job.TimelineID(timelineID),
		timelines: make(map[job.TimelineID]*timeline), logs: make(map[int]*storedLog),
	}
	p.timelines[p.timeline] = newTimeline(p.timeline, s.now())
	s.plans[p.id] = p
	return p, nil
}

// fill gives the request its message.
func (s *Server) fill(q *request, body []byte, m *job.Message) error {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	dec.UseNumber() // request ids are larger than a float keeps
	q.doc = nil
	if err := dec.Decode(&q.doc); err != nil {
		return fmt.Errorf("queuing job %s: %w", q.job, err)
	}
	q.plain = make(map[string]string)
	for name, v := range m.Variables {
		if !v.IsSecret {
			q.plain[name] = v.Value
		}
	}
	q.steps = nil
	for _, step := range m.Steps {
		if step.Enabled == nil || *step.Enabled {
			q.steps = append(q.steps, job.RecordID(cmp.Or(guid(string(step.ID)), string(step.ID))))
		}
	}
	return nil
}

// enqueue lets the job wait for an agent.
func (s *Server) enqueue(q *request) {
	q.blocked = false
	q.pool.waiting = append(q.pool.waiting, q)
	s.log.Info("job queued", "request_id", int64(q.id), "job_id", string(q.job), "job", q.name, "pool_id", q.pool.id)
	s.assign(q.pool)
}

// assign gives waiting jobs to idle agents, oldest job first, as long as there
// is an agent that satisfies the demands (§10.5).
func (s *Server) assign(p *pool) {
	if len(p.waiting) == 0 {
		return
	}
	var idle []*agent
	now := s.now()
	for _, a := range p.members {
		if a.request == nil && *a.wire.Enabled && a.session != nil && !a.session.draining && !s.sessionExpired(a.session, now) {
			idle = append(idle, a)
		}
	}
	var still []*request
	for _, q := range p.waiting {
		i := slices.IndexFunc(idle, func(a *agent) bool { return a.satisfies(q.demands) })
		if i < 0 || s.give(q, idle[i]) != nil {
			still = append(still, q)
			continue
		}
		idle = slices.Delete(idle, i, i+1)
	}
	p.waiting = still
}

// Cancel cancels a job: one that waits is over at once; one that an agent has
// is sent the cancellation message (§5.4). It reports whether the job exists
// and had not ended.
func (s *Server) Cancel(id job.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.jobs[id]
	if q == nil || q.state == Completed {
		return false
	}
	s.cancel(q)
	return true
}

func (s *Server) cancel(q *request) {
	q.canceled = true
	if q.state == Queued {
		q.pool.waiting = slices.DeleteFunc(q.pool.waiting, func(w *request) bool { return w == q })
		s.finish(q, job.Canceled)
		return
	}
	timeout := cmp.Or(q.grace, s.cfg.CancelTimeout)
	body, _ := json.Marshal(map[string]string{"jobId": string(q.job), "timeout": job.FormatSpan(timeout)}) // cannot fail: text only
	s.send(q.agent, messageCancel, string(body), q)
}

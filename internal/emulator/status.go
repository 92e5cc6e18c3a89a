package emulator

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

// statusSource is what the status page shows of a server.
type statusSource struct{ s *Server }

// Overview implements [statuspage.Source].
func (v statusSource) Overview(_ context.Context, most int) statuspage.Overview {
	s := v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	o := statuspage.Overview{Name: "Emulator", Version: s.cfg.Version, Total: len(s.order)}
	for _, p := range s.pools {
		pool := statuspage.Pool{Name: p.name, Agents: len(p.members), Waiting: len(p.waiting)}
		for _, a := range p.members {
			shown := s.statusAgent(a, now)
			if shown.State != offline {
				pool.Online++
			}
			o.Agents = append(o.Agents, shown)
		}
		o.Pools = append(o.Pools, pool)
	}
	for _, q := range slices.Backward(s.order) {
		if len(o.Jobs) < most {
			o.Jobs = append(o.Jobs, statusJob(q))
		}
		if q.state == Running {
			o.Running = append(o.Running, statusJob(q))
		}
	}
	return o
}

const offline = "offline"

// statusAgent returns how an agent is. The caller holds s.mu.
func (s *Server) statusAgent(a *agent, now time.Time) statuspage.Agent {
	out := statuspage.Agent{Name: a.wire.Name, Pool: a.pool.name, Version: a.wire.Version, State: "idle"}
	if t := a.wire.StatusChangedOn; t != nil {
		out.Since = t.Time
	}
	switch {
	case a.session == nil || s.sessionExpired(a.session, now):
		out.State = offline
	case a.session.draining:
		out.State = "draining"
	case a.request != nil:
		out.State = "busy"
	}
	if a.request != nil {
		out.Job, out.JobName = itoa(int64(a.request.id)), a.request.label
	}
	return out
}

// statusJob returns a job without its steps. The caller holds s.mu.
func statusJob(q *request) statuspage.Job {
	j := statuspage.Job{
		ID: itoa(int64(q.id)), Name: q.label, Pipeline: q.run.name, Agent: q.agentName, Pool: q.pool.name,
		State: string(q.state), Result: string(q.result), Reason: q.reason, Queued: q.queued, Started: q.started, Finished: q.finished,
	}
	if j.Pipeline != "" {
		j.Pipeline += " "
	}
	j.Pipeline += "#" + cmp.Or(q.run.number, strconv.Itoa(q.run.id))
	return j
}

// Job implements [statuspage.Source].
func (v statusSource) Job(id string) (statuspage.Job, bool) {
	s := v.s
	name := s.jobNamed(id)
	_, records, _, builds := s.snapshot(name)
	s.mu.Lock()
	q := s.jobs[name]
	if q == nil {
		s.mu.Unlock()
		return statuspage.Job{}, false
	}
	out := statusJob(q)
	for _, r := range records {
		if r.ID != name.Record() {
			out.Steps = append(out.Steps, statuspage.StepOf(r.plain(), r.Log != nil || q.tails[r.ID] != nil))
		}
	}
	for _, w := range s.violations {
		if w.Job == string(name) && len(out.Notes) < mostNotes {
			out.Notes = append(out.Notes, "Against the protocol ("+w.Section+"): "+w.Text)
		}
	}
	s.mu.Unlock()
	for _, a := range builds {
		if a.shown != nil {
			out.Builds = append(out.Builds, *a.shown)
		}
	}
	return out, true
}

// mostNotes are enough to see that an agent is wrong.
const mostNotes = 20

// Log implements [statuspage.Source]. A step that runs shows the lines that were
// sent live, one that has ended its stored log.
func (v statusSource) Log(id, step string, from, most int) (statuspage.Log, bool) {
	s := v.s
	record := job.RecordID(guid(step))
	s.mu.Lock()
	q := s.jobs[s.namedLocked(id)]
	if q == nil {
		s.mu.Unlock()
		return statuspage.Log{}, false
	}
	r := q.plan.timelines[q.plan.timeline].records[record]
	var pages []*storedLog
	done := q.state == Completed
	if r != nil {
		done = done || value(r.wire.State) == job.Completed
		for _, l := range q.plan.sortedLogs() {
			if l.job == q && (l.record() == record || r.wire.Log != nil && r.wire.Log.ID == l.id) {
				pages = append(pages, l)
			}
		}
	}
	tail := q.tails[record]
	s.mu.Unlock()
	if tail != nil && (!done || len(pages) == 0) {
		return tail.Log(from, most, !done), true
	}
	if len(pages) == 0 {
		return statuspage.Log{}, false
	}
	log, err := windowOf(pages, from, most)
	if err != nil {
		s.log.Debug("a log cannot be shown", "job_id", string(q.job), "err", err)
		return statuspage.Log{}, false
	}
	log.Open = !done
	return log, true
}

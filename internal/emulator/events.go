package emulator

import (
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// postEvent takes the completion of a job (§7.10, S12). It is accepted once,
// and only when everything else has arrived: dependent jobs start with it.
func (s *Server) postEvent(c *call) (any, error) {
	var in struct {
		Name              string        `json:"name"`
		JobID             job.ID        `json:"jobId"`
		RequestID         job.RequestID `json:"requestId"`
		Result            job.Result    `json:"result"`
		AgentShuttingDown bool          `json:"agentShuttingDown"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	c.note = in.Name + " " + string(in.Result)
	s.mu.Lock()
	defer s.mu.Unlock()
	p, q, err := s.planOf(c)
	if err != nil {
		return nil, err
	}
	switch {
	case !strings.EqualFold(in.Name, "JobCompleted"):
		return nil, badRequest("The event %q is not one an agent sends (§7.10).", in.Name)
	case job.ID(guid(string(in.JobID))) != q.job:
		return nil, planJobNotFound(string(in.JobID))
	case in.RequestID != q.id:
		return nil, planJobNotFound(string(in.JobID) + " of request " + itoa(int64(in.RequestID)))
	case in.Result == "":
		return nil, badRequest("The event has no result (§7.10).")
	case p.version < eventVersion:
		return nil, s.wrongOrder(q, "§7.10", "the job of a plan of version %d was completed by event; it ends with a PATCH of its request", p.version)
	}
	if err := s.checkCompletion(q, in.Result); err != nil {
		return nil, err
	}
	if in.AgentShuttingDown && q.agent != nil && q.agent.session != nil {
		q.agent.session.draining = true
	}
	s.finish(q, in.Result)
	return nil, nil
}

// checkCompletion refuses a completion that comes before the job's records and
// logs (§7.11). A failed or canceled job whose record is still open is let
// through: its worker died and somebody has to say so (§7.9), or it was canceled
// before it began (§7.1).
func (s *Server) checkCompletion(q *request, result job.Result) error {
	t := q.plan.timelines[q.plan.timeline]
	own := t.records[q.job.Record()]
	died := result == job.Failed || result == job.Canceled
	complete := own != nil && value(own.wire.State) == job.Completed
	switch {
	case died && !complete:
		return nil
	case q.state != Running:
		return s.wrongOrder(q, "§7.1", "the job completed before the first renewal of request %d", q.id)
	case !complete:
		return s.wrongOrder(q, "§7.11", "the job completed before its record did")
	case value(own.wire.Result) != result:
		return s.wrongOrder(q, "§7.11", "the job completed as %s, its record as %s", result, value(own.wire.Result))
	}
	for _, r := range t.order {
		switch {
		case r.job != q:
		case value(r.wire.State) != job.Completed:
			return s.wrongOrder(q, "§7.11", "the job completed while its record %q is %s", value(r.wire.Name), value(r.wire.State))
		case q.feedNext[r.wire.ID] > 0 && r.wire.Log == nil:
			return s.wrongOrder(q, "§7.11", "the job completed while the log of record %q is missing", value(r.wire.Name))
		}
	}
	for step := range q.feedNext {
		if t.records[step] == nil {
			s.violate(q, "§7.5", false, "the job completed with feed lines for step %s, which has no record", step)
		}
	}
	for _, step := range q.steps {
		if t.records[step] == nil {
			s.violate(q, "§7.4, A17", false, "the job completed without a record for step %s", step)
		}
	}
	for _, l := range q.plan.logs {
		if l.job == q && l.size == 0 {
			return s.wrongOrder(q, "§7.11", "the job completed before the page of log %d was uploaded", l.id)
		}
	}
	return nil
}

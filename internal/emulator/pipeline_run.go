package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

// compiledRun drives the jobs of one pipeline run. The server's lock guards it.
type compiledRun struct {
	server   *Server
	run      *run
	compiled *pipeline.Run
	pool     string
}

// announce makes a request for every job of the file, so that the whole run can
// be seen from its start. None of them waits for an agent yet.
func (c *compiledRun) announce(p *pipeline.Pipeline) error {
	for _, stage := range p.Stages {
		for _, def := range stage.Jobs {
			label := def.Name
			if stage.Name != pipeline.DefaultName {
				label = stage.Name + "." + def.Name
			}
			if err := c.add(c.compiled.JobID(stage.Name, def.Name), label, label, def.DisplayName); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *compiledRun) add(id job.ID, group, label, title string) error {
	m := &job.Message{
		JobID: id, JobName: pipeline.DefaultName, JobDisplayName: title,
		Plan:     job.Plan{PlanID: c.compiled.PlanID(), ScopeIdentifier: projectID, PlanType: "Build", Version: defaultPlanVersion},
		Timeline: job.TimelineReference{ID: job.TimelineID(c.compiled.PlanID())},
	}
	q, err := c.server.newRequest(c.run, m, Requirements{Pool: c.pool})
	if err != nil {
		return fmt.Errorf("queuing job %s: %w", label, err)
	}
	q.label, q.group, q.blocked = label, group, true
	return nil
}

// advance starts what may start, until nothing more can.
func (c *compiledRun) advance() {
	for {
		ready := c.compiled.Ready()
		for _, j := range ready {
			c.start(j)
		}
		for _, j := range c.compiled.Jobs() {
			c.settle(&j)
		}
		if len(ready) == 0 {
			return
		}
	}
}

// start queues a job whose dependencies have ended.
func (c *compiledRun) start(j *pipeline.Job) {
	s := c.server
	q := s.jobs[j.ID]
	if q == nil {
		if announced := c.announced(j); announced != nil && announced.state == Completed { // canceled before it had legs
			c.tell(j.ID, announced.result, nil)
			return
		}
		if q = c.leg(j); q == nil {
			c.tell(j.ID, job.Failed, nil)
			return
		}
	}
	if q.state == Completed { // canceled while it waited for others
		c.report(q)
		return
	}
	err := c.prepare(q, j)
	if err != nil {
		s.log.Error("job cannot be queued", "job_id", string(j.ID), "err", err)
		q.reason = err.Error()
		s.end(q, job.Failed)
		c.report(q)
		return
	}
	s.enqueue(q)
}

// leg makes the request of one instance of a job; the request that announced
// the job as a whole goes away.
func (c *compiledRun) leg(j *pipeline.Job) *request {
	group := c.group(j)
	if q := c.announced(j); q != nil {
		c.server.forget(q)
	}
	if err := c.add(j.ID, group, j.Identifier(), j.DisplayName); err != nil {
		c.server.log.Error("job cannot be queued", "job_id", string(j.ID), "err", err)
		return nil
	}
	return c.server.jobs[j.ID]
}

func (c *compiledRun) group(j *pipeline.Job) string {
	return strings.TrimSuffix(j.Identifier(), "."+j.Instance)
}

// announced returns the request that stands for all instances of a job.
func (c *compiledRun) announced(j *pipeline.Job) *request {
	group := c.group(j)
	i := slices.IndexFunc(c.run.requests, func(q *request) bool { return q.group == group && q.label == group })
	if i < 0 {
		return nil
	}
	return c.run.requests[i]
}

func (c *compiledRun) prepare(q *request, j *pipeline.Job) error {
	m := j.Message()
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("queuing job %s: %w", j.Identifier(), err)
	}
	if err := c.server.fill(q, body, m); err != nil {
		return err
	}
	q.name, q.title, q.demands = m.JobName, j.DisplayName, j.Pool.Demands
	q.timeout, q.grace = j.Timeout, j.CancelTimeout
	if c.pool == "" && j.Pool.Name != "" {
		p := c.server.poolNamed(j.Pool.Name)
		if p == nil {
			return fmt.Errorf("queuing job %s: there is no pool %q", j.Identifier(), j.Pool.Name)
		}
		q.pool = p
	}
	return nil
}

// settle completes a request whose job was skipped or could not start.
func (c *compiledRun) settle(j *pipeline.Job) {
	q := c.server.jobs[j.ID]
	if q == nil || j.Result == "" || q.state == Completed {
		return
	}
	q.reason = j.Reason
	c.server.end(q, j.Result)
}

// finished tells the pipeline how a job ended, and starts what waited for it.
func (c *compiledRun) finished(q *request) {
	c.report(q)
	c.advance()
}

// report hands result and outputs to the pipeline. A job that had not started
// there is reported when it does.
func (c *compiledRun) report(q *request) {
	outputs := make(map[string]string)
	for _, r := range q.plan.timelines[q.plan.timeline].order {
		if r.job != q {
			continue
		}
		for name, v := range r.wire.Variables {
			outputs[value(r.wire.RefName)+"."+name] = v.Value
		}
	}
	c.tell(q.job, q.result, outputs)
}

func (c *compiledRun) tell(id job.ID, result job.Result, outputs map[string]string) {
	if err := c.compiled.Finish(id, result, outputs); err != nil {
		c.server.log.Debug("pipeline did not take a result", "job_id", string(id), "err", err)
	}
}

// forget removes a request that was never seen by an agent.
func (s *Server) forget(q *request) {
	isQ := func(other *request) bool { return other == q }
	delete(s.requests, q.id)
	delete(s.jobs, q.job)
	s.order = slices.DeleteFunc(s.order, isQ)
	q.run.requests = slices.DeleteFunc(q.run.requests, isQ)
	q.notify()
}

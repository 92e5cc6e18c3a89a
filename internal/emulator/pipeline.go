package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

// Pipeline says how a pipeline is queued. The zero value queues a pipeline that
// needs nothing.
type Pipeline struct {
	Pool       string // takes every job, whatever pool it names; empty: the one it names, else the first
	Repo       string // directory of a git repository that becomes "self"; empty: none
	File       string // name of the file in messages about it; empty: azure-pipelines.yml
	Parameters map[string]string
	Variables  map[string]job.Variable // set when the run is queued
}

// QueuePipeline compiles a pipeline and queues its jobs. Jobs that depend on
// others are queued when those have ended; jobs that are skipped are completed
// as skipped. A job with a matrix appears once until it starts, then as its legs.
func (s *Server) QueuePipeline(ctx context.Context, text []byte, p Pipeline) (Run, error) {
	repo, err := readRepo(ctx, p.Repo)
	if err != nil {
		return Run{}, fmt.Errorf("queuing a pipeline: %w", err)
	}
	if p.File == "" {
		p.File = "azure-pipelines.yml"
	}
	variables := maps.Clone(p.Variables)
	if p.Repo == "" {
		// Without a repository there is nothing to check out, and §8.2 has a word for it.
		if variables == nil {
			variables = make(map[string]job.Variable)
		}
		variables["build.syncSources"] = job.Variable{Value: "false", IsReadOnly: true}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.runs[s.nextRun] != nil {
		s.nextRun++
	}
	r := &run{id: s.nextRun, definition: 7, items: make(map[string]*containerItem)}
	loaded, err := pipeline.Load(pipeline.Source{File: p.File, Content: text}, pipeline.Options{
		Parameters: p.Parameters, Variables: variables, Repository: repo, Project: "emulator", ProjectID: projectID,
		DefinitionID: r.definition, BuildID: r.id, Revision: r.id - firstRun + 1, Now: s.now(),
	})
	if err != nil {
		return Run{}, fmt.Errorf("compiling %s: %w", p.File, err)
	}
	compiled, err := pipeline.NewRun(loaded, pipeline.RunOptions{UniqueIDs: true})
	if err != nil {
		return Run{}, fmt.Errorf("compiling %s: %w", p.File, err)
	}
	if err := s.checkPools(loaded, p.Pool); err != nil {
		return Run{}, fmt.Errorf("compiling %s: %w", p.File, err)
	}
	r.number = loaded.Name
	r.name = strings.TrimSuffix(filepath.Base(p.File), filepath.Ext(p.File))
	s.nextRun++
	s.runs[r.id] = r
	c := &compiledRun{server: s, run: r, compiled: compiled, pool: p.Pool}
	r.finished = c.finished
	if err := c.announce(loaded); err != nil {
		return Run{}, err
	}
	c.advance()
	return r.info(), nil
}

// checkPools reports jobs whose pool does not exist. Names that are computed
// when the job starts are not known yet.
func (s *Server) checkPools(p *pipeline.Pipeline, override string) error {
	var names []string
	for _, known := range s.pools {
		names = append(names, known.name)
	}
	known := func(name string) bool {
		return name == "" || strings.Contains(name, "$") || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	if !known(override) {
		return fmt.Errorf("there is no pool %q; the emulator has %s", override, strings.Join(names, ", "))
	}
	var problems []error
	for _, stage := range p.Stages {
		for _, def := range stage.Jobs {
			if override == "" && !def.Agentless && !known(def.Pool.Name) {
				problems = append(problems, fmt.Errorf("the job %s wants the pool %q; the emulator has %s", def.Name, def.Pool.Name, strings.Join(names, ", ")))
			}
		}
	}
	return errors.Join(problems...)
}

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
			id := pipeline.StableID(string(c.compiled.PlanID()) + "." + label + "." + pipeline.DefaultName)
			if err := c.add(job.ID(id), label, label, def.DisplayName); err != nil {
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
		if q = c.leg(j); q == nil {
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
	group := strings.TrimSuffix(j.Identifier(), "."+j.Instance)
	for _, q := range slices.Clone(c.run.requests) {
		if q.group == group && q.label == group && q.state == Queued && q.blocked {
			c.server.forget(q)
		}
	}
	if err := c.add(j.ID, group, j.Identifier(), j.DisplayName); err != nil {
		c.server.log.Error("job cannot be queued", "job_id", string(j.ID), "err", err)
		return nil
	}
	return c.server.jobs[j.ID]
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
		i := slices.IndexFunc(c.server.pools, func(p *pool) bool { return strings.EqualFold(p.name, j.Pool.Name) })
		if i < 0 {
			return fmt.Errorf("queuing job %s: there is no pool %q", j.Identifier(), j.Pool.Name)
		}
		q.pool = c.server.pools[i]
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
	if err := c.compiled.Finish(q.job, q.result, outputs); err != nil {
		c.server.log.Debug("pipeline did not take a result", "job_id", string(q.job), "err", err)
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

// readRepo describes the git repository at a directory as it is checked out.
func readRepo(ctx context.Context, dir string) (pipeline.Repository, error) {
	if dir == "" {
		return pipeline.Repository{}, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return pipeline.Repository{}, fmt.Errorf("finding repository %s: %w", dir, err)
	}
	var problems []error
	git := func(args ...string) string {
		var diagnosis bytes.Buffer
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		cmd.Stderr = &diagnosis
		out, err := cmd.Output()
		if err != nil {
			problems = append(problems, fmt.Errorf("reading repository %s: git %s: %w: %s", dir, args[0], err, bytes.TrimSpace(diagnosis.Bytes())))
		}
		return strings.TrimSpace(string(out))
	}
	repo := pipeline.Repository{
		ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("file://"+dir)).String(), Name: filepath.Base(dir), URL: "file://" + dir,
		Ref: git("rev-parse", "--symbolic-full-name", "HEAD"), Commit: git("rev-parse", "HEAD"),
		Author: git("log", "-1", "--format=%an"), Message: git("log", "-1", "--format=%s"),
	}
	repo.DefaultBranch = repo.Ref
	return repo, errors.Join(problems...)
}

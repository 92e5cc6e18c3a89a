package main

import (
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/pipeline"
	"github.com/dockless-ci/dockless/runner"
)

// jobSource hands out the jobs to run and takes their results.
type jobSource interface {
	next() []*job.Message
	finish(id job.ID, o runner.Outcome) error
	limits(id job.ID) limits
	result() job.Result
}

// limits bound a job. A zero run is no bound; end is how long a job that ran
// too long may take to clean up.
type limits struct{ run, end time.Duration }

// pipelineJobs are the jobs of a run.
type pipelineJobs struct {
	run  *pipeline.Run
	jobs map[job.ID]*pipeline.Job
}

func (p *pipelineJobs) next() []*job.Message {
	if p.jobs == nil {
		p.jobs = make(map[job.ID]*pipeline.Job)
	}
	var messages []*job.Message
	for _, j := range p.run.Ready() {
		p.jobs[j.ID] = j
		messages = append(messages, j.Message())
	}
	return messages
}

func (p *pipelineJobs) finish(id job.ID, o runner.Outcome) error {
	return p.run.Finish(id, o.Result, o.Outputs)
}

func (p *pipelineJobs) limits(id job.ID) limits {
	return limits{run: p.jobs[id].Timeout, end: p.jobs[id].CancelTimeout}
}

func (p *pipelineJobs) result() job.Result { return p.run.Result() }

// oneJob is a captured message. Its server bounded it, so nothing here does.
type oneJob struct {
	message *job.Message
	ended   job.Result
}

func (o *oneJob) next() []*job.Message {
	m := o.message
	o.message = nil
	if m == nil {
		return nil
	}
	return []*job.Message{m}
}

func (o *oneJob) finish(_ job.ID, out runner.Outcome) error { o.ended = out.Result; return nil }
func (o *oneJob) limits(job.ID) limits                      { return limits{} }
func (o *oneJob) result() job.Result                        { return o.ended }

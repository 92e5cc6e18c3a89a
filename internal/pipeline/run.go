package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
)

// RunOptions say how a pipeline is run. The zero value runs everything.
type RunOptions struct {
	PlanID job.PlanID // empty: a random one
	Stage  string     // only this stage
	Job    string     // only this job, as Name or Stage.Name
	// UniqueIDs makes the ids of jobs and steps differ between runs. The service's own
	// are the same in every run of a pipeline.
	UniqueIDs bool
}

// Run is one execution of a pipeline: it knows what may start next. Its methods may be
// called concurrently.
type Run struct {
	pipeline *Pipeline
	options  RunOptions
	planID   job.PlanID

	mu       sync.Mutex
	canceled bool
	stages   []*stageState
	jobs     []*Job
}

// NewRun starts a run. It returns an error when options select what does not exist.
func NewRun(p *Pipeline, options RunOptions) (*Run, error) {
	r := &Run{pipeline: p, options: options, planID: options.PlanID}
	if r.planID == "" {
		r.planID = job.PlanID(uuid.NewString())
	}
	selected := 0
	for _, s := range p.Stages {
		state := &stageState{stage: s}
		for _, def := range s.Jobs {
			js := &jobState{def: def}
			if r.selects(s, def) {
				selected++
			} else {
				js.started, js.assumed, js.result = true, true, job.Succeeded
			}
			state.jobs = append(state.jobs, js)
		}
		r.stages = append(r.stages, state)
	}
	if selected == 0 && (options.Stage != "" || options.Job != "") {
		return nil, fmt.Errorf("selecting stage %q and job %q: the pipeline has %s", options.Stage, options.Job, strings.Join(p.names(), ", "))
	}
	return r, nil
}

// names lists Stage.Job, or Job where there is only the implicit stage.
func (p *Pipeline) names() []string {
	var all []string
	for _, s := range p.Stages {
		for _, def := range s.Jobs {
			all = append(all, identifier(s.Name, def.Name))
		}
	}
	return all
}

func (r *Run) selects(s *Stage, def *Definition) bool {
	if r.options.Stage != "" && !strings.EqualFold(r.options.Stage, s.Name) {
		return false
	}
	if s.Manual && r.options.Stage == "" && r.options.Job == "" {
		return false
	}
	return r.options.Job == "" || strings.EqualFold(r.options.Job, def.Name) ||
		strings.EqualFold(r.options.Job, s.Name+"."+def.Name)
}

// PlanID returns the id of the run's plan.
func (r *Run) PlanID() job.PlanID { return r.planID }

// JobID returns the id that the job called name in stage has when it starts as one
// instance, before it does.
func (r *Run) JobID(stage, name string) job.ID {
	return job.ID(r.id(identifier(stage, name, DefaultName)))
}

// Ready starts every stage and job whose dependencies are complete, skips those whose
// condition is false, and returns the jobs to run now, each once. A job that cannot be
// evaluated fails; [Run.Jobs] tells why.
func (r *Run) Ready() []*Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ready []*Job
	for r.advance(&ready) {
	}
	return ready
}

// advance makes one round and reports whether anything changed.
func (r *Run) advance(ready *[]*Job) bool {
	changed := false
	for _, s := range r.stages {
		if s.result != "" {
			continue
		}
		if !s.started {
			if !r.stagesDone(s.stage.DependsOn) {
				continue
			}
			r.startStage(s)
			changed = true
		}
		for _, js := range s.jobs {
			if !js.started && s.result == "" && s.jobsDone(js.def.DependsOn) {
				r.startJob(s, js)
				changed = true
			}
			*ready = append(*ready, js.release()...)
		}
		if s.complete() {
			changed = true
		}
	}
	return changed
}

func (r *Run) stage(name string) *stageState {
	for _, s := range r.stages {
		if strings.EqualFold(s.stage.Name, name) {
			return s
		}
	}
	return nil
}

func (r *Run) stagesDone(names []string) bool {
	for _, name := range names {
		if s := r.stage(name); s != nil && s.result == "" {
			return false
		}
	}
	return true
}

func (r *Run) startStage(s *stageState) {
	s.started = true
	if len(s.jobs) > 0 && !slices.ContainsFunc(s.jobs, func(js *jobState) bool { return !js.assumed }) {
		return // nothing of it was selected
	}
	around, err := r.aroundStage(s)
	var holds bool
	var trace string
	if err == nil {
		holds, trace, err = around.holds(s.stage.Condition)
	}
	if holds && err == nil {
		return
	}
	result := job.Skipped
	if err != nil {
		result, trace = job.Failed, err.Error()
	}
	for _, js := range s.jobs {
		if !js.assumed {
			r.settle(s, js, result, trace)
		}
	}
	s.result = result
}

// settle ends a job of which nothing ran.
func (r *Run) settle(s *stageState, js *jobState, result job.Result, reason string) {
	js.started, js.result = true, result
	j := r.newJob(s, js, leg{name: DefaultName}, 1, 1)
	j.Result, j.Reason = result, reason
	js.finished = append(js.finished, j)
	r.jobs = append(r.jobs, j)
}

func (r *Run) startJob(s *stageState, js *jobState) {
	js.started = true
	if js.def.Agentless {
		r.settle(s, js, job.Skipped, "the job runs on the server, which is not here")
		return
	}
	around, err := r.aroundJob(s, js)
	var holds bool
	var trace string
	if err == nil {
		holds, trace, err = around.holds(js.def.Condition)
	}
	if err == nil && !holds {
		r.settle(s, js, job.Skipped, trace)
		return
	}
	if err == nil {
		err = r.instantiate(s, js, around)
	}
	if err != nil {
		js.waiting = nil
		r.settle(s, js, job.Failed, err.Error())
	}
}

// instantiate makes one job, or one for each leg.
func (r *Run) instantiate(s *stageState, js *jobState, around *surroundings) error {
	legs, kind, err := js.def.strategy.expand(around)
	if err != nil {
		return err
	}
	if js.limit, err = around.lateInt(js.def.strategy.maxParallel, 0); err != nil {
		return err
	}
	for i, l := range legs {
		j := r.newJob(s, js, l, i+1, len(legs))
		j.parallel = kind
		if err := j.prepare(around); err != nil {
			return err
		}
		js.waiting = append(js.waiting, j)
	}
	r.jobs = append(r.jobs, js.waiting...)
	return nil
}

// Finish records the result of a job that Ready returned, with its output variables by
// "step.name". It is an error to finish a job twice or one that is not running.
func (r *Run) Finish(id job.ID, result job.Result, outputs map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.stages {
		for _, js := range s.jobs {
			for _, j := range r.jobs {
				if j.state == js && j.ID == id && j.Result == "" && !slices.Contains(js.waiting, j) {
					js.finish(j, result, outputs)
					s.complete()
					return nil
				}
			}
		}
	}
	return fmt.Errorf("finishing job %s: it is not running", id)
}

// Cancel makes the conditions of everything that has not started see a canceled run.
func (r *Run) Cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.canceled = true
}

// Done reports whether every stage has a result. Call Ready first: it settles what is
// skipped.
func (r *Run) Done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.ContainsFunc(r.stages, func(s *stageState) bool { return s.result == "" })
}

// Result returns the worst result of the stages so far; skipped ones are neutral.
func (r *Run) Result() job.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := job.Result("")
	for _, s := range r.stages {
		result = worse(result, s.result)
	}
	if r.canceled && result != job.Failed {
		return job.Canceled
	}
	return result
}

// Jobs returns every job that was started, skipped or failed to start, as it is now.
func (r *Run) Jobs() []Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	jobs := make([]Job, len(r.jobs))
	for i, j := range r.jobs {
		jobs[i] = *j
	}
	return jobs
}

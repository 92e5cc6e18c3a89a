package pipeline

import (
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

type stageState struct {
	stage   *Stage
	started bool
	result  job.Result // empty while not complete
	jobs    []*jobState
}

// jobState is a job of the file with its instances.
type jobState struct {
	def      *Definition
	started  bool
	result   job.Result
	assumed  bool // was not selected: counts as succeeded
	limit    int  // instances at once; 0: all
	waiting  []*Job
	running  int
	finished []*Job
}

func (s *stageState) job(name string) *jobState {
	for _, js := range s.jobs {
		if strings.EqualFold(js.def.Name, name) {
			return js
		}
	}
	return nil
}

func (s *stageState) jobsDone(names []string) bool {
	for _, name := range names {
		if js := s.job(name); js != nil && js.result == "" {
			return false
		}
	}
	return true
}

// release returns the waiting instances that may run now.
func (js *jobState) release() []*Job {
	n := len(js.waiting)
	if js.limit > 0 {
		n = min(n, js.limit-js.running)
	}
	free := js.waiting[:max(0, n)]
	js.waiting = js.waiting[len(free):]
	js.running += len(free)
	return free
}

func (js *jobState) finish(j *Job, result job.Result, outputs map[string]string) {
	if result == "" || result == job.Abandoned {
		result = job.Failed
	}
	j.Result, j.outputs = result, outputs
	js.running--
	js.finished = append(js.finished, j)
	if js.running > 0 || len(js.waiting) > 0 {
		return
	}
	for _, j := range js.finished {
		one := j.Result
		if one == job.Failed && j.ContinueOnError {
			one = job.SucceededWithIssues
		}
		js.result = worse(js.result, one)
	}
}

// complete settles the stage once all its jobs are and reports whether it did.
func (s *stageState) complete() bool {
	if !s.started || s.result != "" {
		return false
	}
	result := job.Result("")
	for _, js := range s.jobs {
		if js.result == "" {
			return false
		}
		result = worse(result, js.result)
	}
	if result == "" {
		result = job.Succeeded // a stage without jobs
	}
	s.result = result
	return true
}

// worse combines results of siblings: skipped ones are neutral.
func worse(a, b job.Result) job.Result {
	order := []job.Result{"", job.Skipped, job.Succeeded, job.SucceededWithIssues, job.Canceled, job.Failed}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

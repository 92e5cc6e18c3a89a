// Package recent knows what the last jobs of this process did: their records, the
// end of their logs, their builds. It stands between a job and its reporter, sees
// what is reported, which is masked, and hands it to the status page.
//
// One use flows like this: [New] once; for each job [Jobs.Begin], run it with
// [Job.Before] its reporter, [Jobs.End]. Meanwhile the page asks [Jobs.All],
// [Jobs.Job] and [Jobs.Log].
//
// Memory is bounded, whatever a job reports. A step's log keeps its end
// ([statuspage.Tail]), a job's logs together a few mebibytes, its issues and the
// steps of its builds one more, and only the last job has any of them: what they
// say is not for the next job, which may be somebody else's and can look here.
package recent

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

// Jobs are the last jobs of a process. The zero value is empty; nil keeps nothing.
// Its methods may be called concurrently.
type Jobs struct {
	mu   sync.Mutex
	list []*Job // newest first
}

// New returns an empty list.
func New() *Jobs { return &Jobs{} }

// Begin enters a job, whose pipeline and run are named for people. What the jobs
// before printed is forgotten.
func (l *Jobs) Begin(m *job.Message, agent, pool, pipeline string) *Job {
	if l == nil {
		return nil
	}
	j := &Job{
		id: m.JobID, tails: make(map[job.RecordID]*statuspage.Tail),
		shown: statuspage.Job{
			ID: strconv.FormatInt(int64(m.RequestID), 10), Name: "Job", Pipeline: statuspage.Cut(pipeline, mostName), Agent: agent, Pool: pool, State: "running", Started: time.Now(),
		},
		records: make(map[job.RecordID]job.Record),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, old := range l.list {
		old.forget()
	}
	l.list = slices.Insert(l.list, 0, j)
	if len(l.list) > mostJobs {
		l.list = slices.Clone(l.list[:mostJobs])
	}
	return j
}

// End says how the last job with an id ended. It may be called for jobs that never
// began.
func (l *Jobs) End(id job.ID, result job.Result) {
	j := l.find(string(id))
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.shown.Open() { // else it is an earlier run
		j.shown.State, j.shown.Result, j.shown.Finished = "completed", string(result), time.Now()
	}
}

// All returns the jobs, newest first, without steps.
func (l *Jobs) All() []statuspage.Job {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]statuspage.Job, len(l.list))
	for i, j := range l.list {
		out[i] = j.summary()
	}
	return out
}

// Job returns a job by the number of its request or by its own id, which the runs
// of a pipeline have in common: it is the last one then.
func (l *Jobs) Job(id string) (statuspage.Job, bool) {
	if j := l.find(id); j != nil {
		return j.whole(), true
	}
	return statuspage.Job{}, false
}

// Log returns a part of the log of a step.
func (l *Jobs) Log(id, step string, from, most int) (statuspage.Log, bool) {
	j := l.find(id)
	if j == nil {
		return statuspage.Log{}, false
	}
	j.mu.Lock()
	t := j.tails[job.RecordID(step)]
	open := j.shown.Open() && j.records[job.RecordID(step)].State != job.Completed
	j.mu.Unlock()
	if t == nil {
		return statuspage.Log{}, false
	}
	return t.Log(from, most, open), true
}

func (l *Jobs) find(id string) *Job {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range l.list {
		if j.shown.ID == id || strings.EqualFold(string(j.id), id) {
			return j
		}
	}
	return nil
}

// Job is one job that runs or ran. Nil keeps nothing.
type Job struct {
	id job.ID

	mu      sync.Mutex
	shown   statuspage.Job // without steps
	records map[job.RecordID]job.Record
	order   []job.RecordID // of those with a log, as they ended
	tails   map[job.RecordID]*statuspage.Tail
	builds  []statuspage.Build
	details int  // bytes of the issues and of the steps of builds
	over    bool // the next job has begun: nothing that the job printed is kept any more
	left    bool // something was forgotten
}

// forget drops what the job printed: its logs, and issues and steps of builds, which
// quote it.
func (j *Job) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.over, j.left = true, j.left || len(j.tails) > 0 || j.details > 0
	j.tails, j.order, j.details = nil, nil, 0
	for id, r := range j.records {
		r.Issues, r.CurrentOperation = nil, ""
		j.records[id] = r
	}
	for i := range j.builds {
		j.builds[i].Rows, j.builds[i].Reasons = nil, nil
	}
}

func (j *Job) summary() statuspage.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.shown
}

func (j *Job) whole() statuspage.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.shown
	out.Builds = slices.Clone(j.builds)
	for _, r := range j.records {
		if r.ID != j.id.Record() {
			out.Steps = append(out.Steps, statuspage.StepOf(r, j.tails[r.ID] != nil))
		}
	}
	slices.SortFunc(out.Steps, func(a, b statuspage.Step) int {
		return cmp.Or(cmp.Compare(j.records[job.RecordID(a.ID)].Order, j.records[job.RecordID(b.ID)].Order), cmp.Compare(a.ID, b.ID))
	})
	switch {
	case j.over && j.left:
		out.Notes = append(out.Notes, "The logs, issues and build steps of this job are no longer here: they go when the next job begins. Azure DevOps has them.")
	case j.left:
		out.Notes = append(out.Notes, "Not all issues and build steps of this job are kept here. Azure DevOps has them.")
	}
	return out
}

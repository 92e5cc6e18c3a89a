package pipeline

import (
	"time"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
)

// Job is one instance of a job: what an agent runs.
type Job struct {
	ID          job.ID
	Stage       string // name; [DefaultName] for the implicit one
	Name        string // as in the file
	Instance    string // leg of the matrix, or [DefaultName]
	DisplayName string
	// Timeout bounds the job; 0 is no bound. CancelTimeout is how long it may clean up.
	Timeout         time.Duration
	CancelTimeout   time.Duration
	ContinueOnError bool
	Pool            Pool
	Result          job.Result // empty while not complete
	Reason          string     // why it was skipped or could not start

	run      *Run
	stage    *Stage
	state    *jobState
	leg      leg
	position int
	total    int
	parallel string
	outputs  map[string]string
	message  *job.Message
}

// Identifier returns the job's full name, for example "build.linux.__default".
func (j *Job) Identifier() string { return identifier(j.Stage, j.Name, j.Instance) }

// Message returns what an agent is sent. The caller fills in what belongs to its server:
// RequestID, LockedUntil, the system connection in Resources.Endpoints, and the
// variables system.collectionUri, system.teamFoundationCollectionUri,
// system.taskDefinitionsUri and system.accessToken. It is nil for a job that did not
// start.
func (j *Job) Message() *job.Message { return j.message }

func (r *Run) newJob(s *stageState, js *jobState, l leg, position, total int) *Job {
	j := &Job{
		Stage: s.stage.Name, Name: js.def.Name, Instance: l.name, DisplayName: js.def.DisplayName, Pool: js.def.Pool,
		run: r, stage: s.stage, state: js, leg: l, position: position, total: total,
	}
	if l.name != DefaultName {
		j.DisplayName += " " + l.name
	}
	j.ID = job.ID(r.id(j.Identifier()))
	return j
}

// id derives the id of something in the run from its name.
func (r *Run) id(name string) string {
	if r.options.UniqueIDs {
		name = string(r.planID) + "." + name
	}
	return stableID(name)
}

// status returns a result as expressions know it.
func status(result job.Result) expr.Status { return expr.Status(result.Title()) }

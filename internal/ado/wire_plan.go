package ado

import "github.com/dockless-ci/dockless/internal/job"

// EventJobCompleted is the name of the event that ends a job of plan version 8
// and later (protocol §7.10).
const EventJobCompleted = "JobCompleted"

// JobEvent is a plan event.
type JobEvent struct {
	Name              string        `json:"name"`
	JobID             job.ID        `json:"jobId"`
	RequestID         job.RequestID `json:"requestId"`
	Result            job.Result    `json:"result"`
	AgentShuttingDown bool          `json:"agentShuttingDown"` // true: assign nothing more to this agent
}

// RecordUpdates is the body that changes records, the only wrapped one (protocol §7.3).
type RecordUpdates = List[job.Record]

// Timeline is a tree of records. Records is absent unless asked for.
type Timeline struct {
	ID       job.TimelineID `json:"id"`
	ChangeID int            `json:"changeId,omitempty"`
	Records  []job.Record   `json:"records,omitempty"`
}

// FeedLines are live lines of one record (protocol §7.5). The route names the
// job's record, StepID the one the lines belong to.
type FeedLines struct {
	Count     int          `json:"count"`
	Value     []string     `json:"value"`
	StepID    job.RecordID `json:"stepId"`
	StartLine int64        `json:"startLine"` // 1-based number of the first line in the step's log
	EndLine   int64        `json:"endLine,omitempty"`
}

// Log is a stored log: one page of a record's lines (protocol §7.6).
type Log struct {
	ID            LogID    `json:"id,omitempty"`
	Path          string   `json:"path"`
	Location      string   `json:"location,omitempty"`
	LineCount     int64    `json:"lineCount,omitempty"`
	CreatedOn     job.Time `json:"createdOn,omitzero"`
	LastChangedOn job.Time `json:"lastChangedOn,omitzero"`
}

// LogPath is the path of a record's log: the wire wants a backslash.
func LogPath(record job.RecordID) string { return `logs\` + string(record) }

// StoredAttachment is the answer to an upload (protocol §7.7).
type StoredAttachment struct {
	Type          string         `json:"type"`
	Name          string         `json:"name"`
	TimelineID    job.TimelineID `json:"timelineId,omitempty"`
	RecordID      job.RecordID   `json:"recordId,omitempty"`
	CreatedOn     job.Time       `json:"createdOn,omitzero"`
	LastChangedOn job.Time       `json:"lastChangedOn,omitzero"`
}

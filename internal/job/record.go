package job

import "maps"

// Record is one node of a timeline (protocol §7.2). A zero member means
// "unchanged": records are merged member by member.
type Record struct {
	ID               RecordID            `json:"id"`
	ParentID         RecordID            `json:"parentId,omitempty"`
	Type             string              `json:"type,omitempty"` // Job or Task
	Name             string              `json:"name,omitempty"`
	RefName          string              `json:"refName,omitempty"`
	Order            int                 `json:"order,omitempty"` // 1-based; 0 on the job's record
	State            State               `json:"state,omitempty"`
	Result           Result              `json:"result,omitempty"`
	ResultCode       string              `json:"resultCode,omitempty"`
	StartTime        *Time               `json:"startTime,omitempty"`
	FinishTime       *Time               `json:"finishTime,omitempty"`
	CurrentOperation string              `json:"currentOperation,omitempty"`
	PercentComplete  int                 `json:"percentComplete,omitempty"`
	WorkerName       string              `json:"workerName,omitempty"`
	Log              *LogReference       `json:"log,omitempty"`
	ErrorCount       int                 `json:"errorCount,omitempty"`   // all of them
	WarningCount     int                 `json:"warningCount,omitempty"` // all of them
	Issues           []Issue             `json:"issues,omitempty"`       // at most MaxIssues of each type
	Variables        map[string]Variable `json:"variables,omitempty"`    // outputs
	Attempt          int                 `json:"attempt,omitempty"`
	ChangeID         int                 `json:"changeId,omitempty"` // owned by the server
	Identifier       string              `json:"identifier,omitempty"`
	Details          *TimelineReference  `json:"details,omitempty"` // where records below this one are

	// Timeline is the one that the record belongs to; empty is the job's.
	Timeline TimelineID `json:"-"`
}

// MaxIssues is how many errors, and how many warnings, a record carries at most
// (protocol §7.2); the counts go on.
const MaxIssues = 10

// Types of record.
const (
	TypeJob  = "Job"
	TypeTask = "Task"
)

// LogReference points at the stored log of a record.
type LogReference struct {
	ID       int    `json:"id"`
	Location string `json:"location,omitempty"`
}

// Issue is a warning or an error on a record.
type Issue struct {
	Type     IssueType         `json:"type"`
	Category string            `json:"category,omitempty"` // General or Code
	Message  string            `json:"message"`
	Data     map[string]string `json:"data,omitempty"`
}

// Merge returns r with every set member of next applied: later scalars win,
// counts only when above zero, a non-empty issue list replaces, variables merge
// by name (protocol §7.3).
func (r Record) Merge(next Record) Record {
	set(&r.ParentID, next.ParentID)
	set(&r.Type, next.Type)
	set(&r.Name, next.Name)
	set(&r.RefName, next.RefName)
	set(&r.Order, next.Order)
	set(&r.State, next.State)
	set(&r.Result, next.Result)
	set(&r.ResultCode, next.ResultCode)
	set(&r.StartTime, next.StartTime)
	set(&r.FinishTime, next.FinishTime)
	set(&r.CurrentOperation, next.CurrentOperation)
	set(&r.PercentComplete, next.PercentComplete)
	set(&r.WorkerName, next.WorkerName)
	set(&r.Log, next.Log)
	set(&r.ErrorCount, next.ErrorCount)
	set(&r.WarningCount, next.WarningCount)
	set(&r.Attempt, next.Attempt)
	set(&r.ChangeID, next.ChangeID)
	set(&r.Identifier, next.Identifier)
	set(&r.Details, next.Details)
	set(&r.Timeline, next.Timeline)
	if len(next.Issues) > 0 {
		r.Issues = next.Issues
	}
	if len(next.Variables) > 0 {
		merged := make(map[string]Variable, len(r.Variables)+len(next.Variables))
		maps.Copy(merged, r.Variables)
		maps.Copy(merged, next.Variables)
		r.Variables = merged
	}
	return r
}

func set[T comparable](to *T, value T) {
	var zero T
	if value != zero {
		*to = value
	}
}

// Attachment is a file that belongs to a record. Type and name are valid file
// names.
type Attachment struct {
	Type    string
	Name    string
	Content []byte
}

// Types of attachment. AttachmentBuild is ours: the JSON of one [BuildReport].
const (
	AttachmentSummary = "DistributedTask.Core.Summary"
	AttachmentFile    = "DistributedTask.Core.FileAttachment"
	AttachmentLog     = "DistributedTask.Core.Log"
	AttachmentBuild   = "Dockless.Build"
)

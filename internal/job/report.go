package job

// Report is what is kept of a finished job; `dockless replay --report` and the
// emulator write the same (design §10).
type Report struct {
	Result    Result            `json:"result"`
	Records   []ReportRecord    `json:"records"`
	Outputs   map[string]string `json:"outputs"`   // "step.variable" → value, secrets left out
	Variables map[string]string `json:"variables"` // the job's plain variables at its end
	Builds    []BuildReport     `json:"builds"`
}

// ReportRecord is a record with its log.
type ReportRecord struct {
	ID           RecordID      `json:"id"`
	ParentID     RecordID      `json:"parentId"`
	Type         string        `json:"type"`
	Name         string        `json:"name"`
	RefName      string        `json:"refName"`
	Order        int           `json:"order"`
	State        State         `json:"state"`
	Result       Result        `json:"result"`
	StartTime    Time          `json:"startTime"`
	FinishTime   Time          `json:"finishTime"`
	Issues       []ReportIssue `json:"issues"`
	ErrorCount   int           `json:"errorCount"`
	WarningCount int           `json:"warningCount"`
	Log          []string      `json:"log"`
}

// ReportIssue is an issue without its data.
type ReportIssue struct {
	Type    IssueType `json:"type"`
	Message string    `json:"message"`
}

// BuildReport says what one image build did.
type BuildReport struct {
	Step      string   `json:"step"` // reference name of the step
	Digest    string   `json:"digest"`
	Platforms []string `json:"platforms"`
	Steps     int      `json:"steps"`  // steps of the Dockerfile
	Cached    int      `json:"cached"` // those that did not run
	Reasons   []string `json:"reasons"`
	Seconds   float64  `json:"seconds"`
	// Waterfall are the steps: those that were cached, then the others as they
	// began. Older agents do not say.
	Waterfall []BuildStep `json:"waterfall,omitempty"`
}

// BuildStep is one step of an image build that was needed.
type BuildStep struct {
	Name    string  `json:"name"`
	Cached  bool    `json:"cached,omitempty"`
	Start   float64 `json:"start,omitempty"`   // seconds since the build began
	Seconds float64 `json:"seconds,omitempty"` // zero when it did not run
	Reason  string  `json:"reason,omitempty"`  // why it ran
}

// Reported returns r and its log lines as a report shows them.
func (r Record) Reported(log []string) ReportRecord {
	out := ReportRecord{
		ID: r.ID, ParentID: r.ParentID, Type: r.Type, Name: r.Name, RefName: r.RefName, Order: r.Order,
		State: r.State, Result: r.Result, Issues: []ReportIssue{}, ErrorCount: r.ErrorCount, WarningCount: r.WarningCount, Log: log,
	}
	if out.Log == nil {
		out.Log = []string{}
	}
	if r.StartTime != nil {
		out.StartTime = *r.StartTime
	}
	if r.FinishTime != nil {
		out.FinishTime = *r.FinishTime
	}
	for _, i := range r.Issues {
		out.Issues = append(out.Issues, ReportIssue{Type: i.Type, Message: i.Message})
	}
	return out
}

package recent

import (
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

const (
	// mostJobs is a morning of an agent, and ten kilobytes each.
	mostJobs = 20
	// mostLogBytes is what the logs of a job may take together: those of eight
	// steps that printed more than is kept. The oldest go first.
	mostLogBytes = 4 << 20
	// mostDetails is what the issues and the steps of builds of a job may take
	// together: five hundred long ones. Those that come later are not kept.
	mostDetails = 1 << 20

	// Numbers of things, and bytes of texts, that no honest job comes near.
	mostRecords = 1000
	mostBuilds  = 50
	mostName    = 512
	mostText    = 2 << 10
)

// boundedRecord returns what a page shows of a record. The rest, such as its
// variables, may be secret or long.
func boundedRecord(r job.Record) job.Record {
	out := job.Record{
		ID: r.ID, Order: r.Order, State: r.State, Result: r.Result, StartTime: r.StartTime, FinishTime: r.FinishTime,
		PercentComplete: r.PercentComplete, ErrorCount: r.ErrorCount, WarningCount: r.WarningCount,
		Name: statuspage.Cut(r.Name, mostName), CurrentOperation: statuspage.Cut(r.CurrentOperation, mostName),
	}
	for _, i := range r.Issues[:min(len(r.Issues), 2*job.MaxIssues)] {
		out.Issues = append(out.Issues, job.Issue{Type: i.Type, Message: statuspage.Cut(i.Message, mostText)})
	}
	return out
}

// detail is what an issue, or a step of a build, takes without its texts.
const detail = 64

func issuesSize(issues []job.Issue) (size int) {
	for _, i := range issues {
		size += detail + len(i.Message)
	}
	return size
}

// buildSize is what the steps of a build take.
func buildSize(b statuspage.Build) (size int) {
	for _, r := range b.Rows {
		size += detail + len(r.Name) + len(r.Reason)
	}
	for _, reason := range b.Reasons {
		size += detail + len(reason)
	}
	return size
}

package runner

import (
	"context"
	"io"
	"iter"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/artifacttasks"
)

// TaskSource is where the packages of downloaded tasks come from: the server of
// an agent. It is used by one job at a time.
type TaskSource interface {
	// FetchTask writes the zip of a task to to, and may have written a part of it
	// when it fails. An error with a method Temporary() bool that returns false
	// will not go away.
	FetchTask(ctx context.Context, ref job.TaskReference, to io.Writer) error
}

// TestService is where test results and coverage go: the server of an agent. Its
// methods are called concurrently, with masked texts.
type TestService interface {
	// PublishTests makes a run of results. It takes them as it sends them and ends
	// at the first error among them. What the receipt says holds in any case.
	PublishTests(ctx context.Context, run job.TestRun, results iter.Seq2[job.TestResult, error], files []job.TestAttachment) (job.TestReceipt, error)
	// PublishCoverage adds a summary to the build.
	PublishCoverage(ctx context.Context, coverage job.Coverage) error
}

// BuildService keeps a run and its artifacts: the server of an agent, or a folder
// of a replay. Its methods are called concurrently.
type BuildService interface {
	artifacttasks.Service

	// SetNumber changes the number of a run and returns the one that it has now.
	SetNumber(ctx context.Context, run job.RunReference, number string) (string, error)
	// AddTag adds a tag to a run and returns all that it has.
	AddTag(ctx context.Context, run job.RunReference, tag string) ([]string, error)
	// RenameRelease gives a release another name.
	RenameRelease(ctx context.Context, project string, release int, name, comment string) error
}

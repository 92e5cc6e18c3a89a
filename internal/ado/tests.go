package ado

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

const (
	// testTimeout bounds one request; a thousand results take the service a while
	// (protocol §9.5).
	testTimeout = 600 * time.Second
	// maxTestBatch is how many results the service takes in one request.
	maxTestBatch = 1000
	// maxTestBatchText is how much text of results, and of outputs to attach to them,
	// is held for one request, in bytes; one result more may go beyond it. Failures
	// with long stacks or outputs make requests of fewer results.
	maxTestBatchText = 4 << 20
	// MaxTestAttachment is the size above which the service takes no file, in bytes.
	MaxTestAttachment = 75 << 20
	// maxTestAttachments bounds the files of results in one run: each of them is a
	// request, and when a thousand tests fail nobody reads every output.
	maxTestAttachments = 1000
)

// TestClient publishes test results and coverage with the token of one job
// (protocol §9.5). Its methods may be called concurrently. Requests are repeated
// as [Options] say; one that was carried out although its answer was lost can
// make a run or results appear twice, as with Microsoft's agent.
type TestClient struct {
	conn    *connection
	project string
	build   string // id of the build; empty: the job belongs to none
	stage   *TestedStage
}

// NewTestClient returns a client for the job of m. It does not connect.
func NewTestClient(m *job.Message, o Options) (*TestClient, error) {
	address, token := m.JobToken()
	if address == "" || token == "" {
		return nil, fmt.Errorf("job %s has no %s endpoint with a token", m.JobID, job.SystemConnection)
	}
	o.Timeout = testTimeout
	conn, err := newConnection(address, bearer{mask.NewSecret(token)}, o)
	if err != nil {
		return nil, fmt.Errorf("publishing tests of job %s: %w", m.JobID, err)
	}
	c := &TestClient{conn: conn, project: m.Plan.ScopeIdentifier}
	said := func(name string) string { v, _ := job.Lookup(m.Variables, name); return v.Value }
	if id, err := strconv.Atoi(said("build.buildId")); err == nil && id > 0 {
		attempt := func(name string) int { n, _ := strconv.Atoi(said(name)); return max(n, 1) }
		c.build = strconv.Itoa(id)
		c.stage = &TestedStage{
			PipelineID: id,
			Stage:      StageReference{said("system.stageName"), attempt("system.stageAttempt")},
			Phase:      PhaseReference{said("system.phaseName"), attempt("system.phaseAttempt")},
			Job:        JobReference{said("system.jobName"), attempt("system.jobAttempt")},
		}
	}
	return c, nil
}

// PublishTests makes a run of results and ends it. Results are taken as they are
// sent, a thousand at a time; an error among them ends the publication, and the
// run is marked as aborted. Attachments that cannot be sent, and statistics that
// cannot be had, are part of the receipt.
func (c *TestClient) PublishTests(ctx context.Context, run job.TestRun, results iter.Seq2[job.TestResult, error], files []job.TestAttachment) (job.TestReceipt, error) {
	ctx = patient(ctx)
	p := publication{client: c, receipt: job.TestReceipt{Failed: -1}}
	id, err := c.startRun(ctx, run)
	if err != nil {
		return p.receipt, err
	}
	p.receipt.RunID = id
	err = p.addAll(ctx, results)
	for i := 0; i < len(files) && err == nil; i++ {
		err = p.attach(ctx, LocationTestRunAttachments, 0, files[i])
	}
	if err == nil {
		err = c.endRun(ctx, id, EndTestRun{State: TestCompleted, CompletedDate: job.At(run.Completed)})
	}
	if err != nil {
		return p.receipt, fmt.Errorf("publishing test run %d: %w", id, errors.Join(err, c.abort(ctx, id)))
	}
	if p.receipt.Failed, err = c.failed(ctx, id); err != nil {
		// The run is there, and whoever asks has counted, too.
		p.receipt.Skipped = append(p.receipt.Skipped, fmt.Errorf("the server did not say how many tests failed without the flaky ones: %w", err))
	}
	return p.receipt, nil
}

func (c *TestClient) endRun(ctx context.Context, run int, body EndTestRun) error {
	_, err := c.conn.do(ctx, call{
		method: http.MethodPatch, location: LocationTestRuns, version: versionTestRuns, route: c.route("runId", strconv.Itoa(run)), body: body,
	}, nil)
	if err != nil {
		return fmt.Errorf("ending it: %w", err)
	}
	return nil
}

// abort ends a run that is incomplete, which would look as if it went on. It may
// be the end of a canceled job, whose runner counts on this bound (reportTime).
func (c *TestClient) abort(ctx context.Context, run int) error {
	const bound = 5 * time.Second
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), bound, fmt.Errorf("aborting test run %d took longer than %s", run, bound))
	defer cancel()
	return c.endRun(withoutRetries(ctx), run, EndTestRun{State: TestAborted, CompletedDate: job.At(time.Now())})
}

// PublishCoverage adds a summary of coverage to the job's build.
func (c *TestClient) PublishCoverage(ctx context.Context, coverage job.Coverage) error {
	if c.build == "" {
		return errors.New("publishing code coverage: the job belongs to no build")
	}
	_, err := c.conn.do(patient(ctx), call{
		method: http.MethodPost, location: LocationCodeCoverage, version: versionTestOthers,
		route: c.route(), query: url.Values{"buildId": {c.build}},
		body: CodeCoverageData{CoverageStats: coverage.Counters, BuildPlatform: coverage.Platform, BuildFlavor: coverage.Flavor},
	}, nil)
	if err != nil {
		return fmt.Errorf("publishing code coverage: %w", err)
	}
	return nil
}

func (c *TestClient) startRun(ctx context.Context, run job.TestRun) (int, error) {
	body := NewTestRun{
		Name: run.Name, State: TestInProgress, Automated: true, Build: Reference{ID: c.build}, BuildFlavor: run.Flavor, BuildPlatform: run.Platform,
		ConfigurationIDs: []int{}, StartDate: job.At(run.Started), CompleteDate: job.At(run.Completed), Pipeline: c.stage,
	}
	if run.System != "" {
		body.CustomTestFields = []TestField{{Name: "TestRunSystem", Value: run.System}}
	}
	var made TestRunReference
	_, err := c.conn.do(ctx, call{method: http.MethodPost, location: LocationTestRuns, version: versionTestRuns, route: c.route(), body: body}, &made)
	if err == nil && made.ID == 0 {
		err = errors.New("the answer lacks the run's id")
	}
	if err != nil {
		return 0, fmt.Errorf("making a test run: %w", err)
	}
	return made.ID, nil
}

// failed asks how many results of a run have failed.
func (c *TestClient) failed(ctx context.Context, run int) (int, error) {
	var counts TestStatistics
	_, err := c.conn.do(ctx, call{
		method: http.MethodGet, location: LocationTestStatistics, version: versionTestRuns, route: c.route("runId", strconv.Itoa(run)),
	}, &counts)
	if notOffered(err) {
		return -1, nil // whoever asks has counted, too
	}
	if err != nil {
		return -1, fmt.Errorf("asking for the statistics of test run %d: %w", run, err)
	}
	n := 0
	for _, s := range counts.Statistics {
		if strings.EqualFold(s.Outcome, "Failed") && !strings.EqualFold(s.Metadata, "flaky") {
			n += s.Count
		}
	}
	return n, nil
}

// route returns the project's route value and more, given as name, value, ….
func (c *TestClient) route(more ...string) map[string]string {
	route := map[string]string{"project": c.project}
	for i := 0; i+1 < len(more); i += 2 {
		route[more[i]] = more[i+1]
	}
	return route
}

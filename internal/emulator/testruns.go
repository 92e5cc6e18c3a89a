package emulator

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// firstTestRun and firstTestResult are where the numbers of test runs and of the
// results in a run start, as the service does it: a result's number is no index.
const (
	firstTestRun    = 4201
	firstTestResult = 100000
)

// maxTestResults is how many results one call adds (§9.5).
const maxTestResults = 1000

// TestRun is a set of test results that a job published (§9.5).
type TestRun struct {
	ID            int               `json:"id"`
	Name          string            `json:"name"`
	State         string            `json:"state"`
	Build         int               `json:"build"`
	Platform      string            `json:"buildPlatform"`
	Flavor        string            `json:"buildFlavor"`
	StartDate     job.Time          `json:"startDate"`
	CompletedDate job.Time          `json:"completedDate"`
	Fields        map[string]string `json:"fields"` // the custom ones
	Batches       []int             `json:"batches"`
	Results       []TestResult      `json:"results"`
	Attachments   []TestAttachment  `json:"attachments"`
}

// TestResult is one result as it was published.
type TestResult struct {
	ID                   int              `json:"id"`
	TestCaseTitle        string           `json:"testCaseTitle"`
	AutomatedTestName    string           `json:"automatedTestName"`
	AutomatedTestStorage string           `json:"automatedTestStorage,omitempty"`
	AutomatedTestType    string           `json:"automatedTestType,omitempty"`
	Outcome              string           `json:"outcome"`
	State                string           `json:"state"`
	StartedDate          job.Time         `json:"startedDate"`
	CompletedDate        job.Time         `json:"completedDate"`
	DurationInMs         float64          `json:"durationInMs"`
	ErrorMessage         string           `json:"errorMessage,omitempty"`
	StackTrace           string           `json:"stackTrace,omitempty"`
	ComputerName         string           `json:"computerName,omitempty"`
	ResultGroupType      string           `json:"resultGroupType,omitempty"`
	SubResults           []TestSubResult  `json:"subResults,omitempty"`
	Attachments          []TestAttachment `json:"attachments,omitempty"`
}

// TestSubResult is a part of a result.
type TestSubResult struct {
	DisplayName  string  `json:"displayName"`
	Outcome      string  `json:"outcome"`
	DurationInMs float64 `json:"durationInMs"`
	ErrorMessage string  `json:"errorMessage,omitempty"`
	StackTrace   string  `json:"stackTrace,omitempty"`
}

// testRun is a run and whose it is.
type testRun struct {
	TestRun
	run *run
}

// testOutcomes are the service's words (its enumeration TestOutcome).
var testOutcomes = []string{
	"Passed", "Failed", "Inconclusive", "Timeout", "Aborted", "Blocked", "NotExecuted", "Warning", "Error", "NotApplicable", "Paused", "InProgress", "NotImpacted",
}

// testBuild finds the run of a test call by the build it names and checks the
// caller and the project. The caller holds s.mu.
func (s *Server) testBuild(c *call, build string) (*run, error) {
	id, err := strconv.Atoi(build)
	r := s.runs[id]
	if err != nil || r == nil {
		return nil, refuse(http.StatusNotFound, "BuildNotFoundException", "There is no build %q.", build)
	}
	return r, s.testProject(c, r)
}

// testProject checks the caller, and that the project of the route is the run's.
func (s *Server) testProject(c *call, r *run) error {
	if err := s.mayUse(c, r); err != nil {
		return err
	}
	if len(r.requests) > 0 && guid(c.v("project")) != guid(r.requests[0].plan.scope) {
		return refuse(http.StatusNotFound, "ProjectDoesNotExistException", "The run %d is in another project than %s.", r.id, c.v("project"))
	}
	return nil
}

// testRunOf finds the test run of a route. The caller holds s.mu.
func (s *Server) testRunOf(c *call) (*testRun, error) {
	id, err := strconv.Atoi(c.v("runId"))
	t := s.testRuns[id]
	if err != nil || t == nil {
		return nil, refuse(http.StatusNotFound, "TestObjectNotFoundException", "There is no test run %s.", c.v("runId"))
	}
	return t, s.testProject(c, t.run)
}

// openTestRun is [Server.testRunOf] for calls that add something: nothing comes
// after a run has ended.
func (s *Server) openTestRun(c *call) (*testRun, error) {
	t, err := s.testRunOf(c)
	if err == nil && t.State != "InProgress" {
		err = s.wrongOrder(c.job, "§9.5", "%s %s of test run %d, which is %s", c.r.Method, c.where.resource, t.ID, t.State)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (s *Server) addTestRun(c *call) (any, error) {
	var in struct {
		Name, State               string
		Automated                 bool
		Build                     struct{ ID string }
		BuildPlatform             string
		BuildFlavor               string
		StartDate, CompleteDate   job.Time
		CustomTestFields          []struct{ FieldName, Value string }
		ConfigurationIds, PointID []int
	}
	if c.v("runId") != "" {
		return nil, refuse(http.StatusMethodNotAllowed, "VssRequestContentException", "A test run is made without an id.")
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.testBuild(c, in.Build.ID)
	switch {
	case err != nil:
		return nil, err
	case in.Name == "" || !in.Automated || in.State != "InProgress":
		return nil, badRequest("A test run has a name, is automated and begins InProgress (§9.5).")
	}
	t := &testRun{run: r, TestRun: TestRun{
		ID: firstTestRun + len(s.testRuns), Name: in.Name, State: in.State, Build: r.id, Platform: in.BuildPlatform, Flavor: in.BuildFlavor,
		StartDate: in.StartDate, CompletedDate: in.CompleteDate, Fields: map[string]string{},
	}}
	for _, f := range in.CustomTestFields {
		t.Fields[f.FieldName] = f.Value
	}
	s.testRuns[t.ID] = t
	c.note = t.Name
	return t.reference(), nil
}

// reference is a run without what is in it.
func (t *testRun) reference() TestRun {
	out := t.TestRun
	out.Batches, out.Results, out.Attachments = nil, nil, nil
	return out
}

func (s *Server) getTestRuns(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.v("runId") != "" {
		t, err := s.testRunOf(c)
		if err != nil {
			return nil, err
		}
		return t.reference(), nil
	}
	var out []TestRun
	for _, t := range s.testRuns {
		if s.testProject(c, t.run) == nil {
			out = append(out, t.reference())
		}
	}
	slices.SortFunc(out, func(a, b TestRun) int { return a.ID - b.ID })
	return listOf(out), nil
}

// updateTestRun ends a run.
func (s *Server) updateTestRun(c *call) (any, error) {
	var in struct {
		State         string
		CompletedDate job.Time
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.openTestRun(c)
	switch {
	case err != nil:
		return nil, err
	case in.State != "Completed" && in.State != "Aborted":
		return nil, badRequest("A test run ends Completed or Aborted, not %q (§9.5).", in.State)
	}
	t.State = in.State
	if !in.CompletedDate.IsZero() {
		t.CompletedDate = in.CompletedDate
	}
	c.note = in.State
	return t.reference(), nil
}

// addTestResults adds at most a thousand results.
func (s *Server) addTestResults(c *call) (any, error) {
	var in []TestResult
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.openTestRun(c)
	if err != nil {
		return nil, err
	}
	if len(in) == 0 || len(in) > maxTestResults {
		s.violate(c.job, "§9.5", true, "%d results in one call", len(in))
		return nil, badRequest("A call adds 1 to %d results, not %d (§9.5).", maxTestResults, len(in))
	}
	ids := make([]struct {
		ID int `json:"id"`
	}, len(in))
	for i := range in {
		r := &in[i]
		if r.TestCaseTitle == "" || r.State != "Completed" || !slices.Contains(testOutcomes, r.Outcome) {
			return nil, badRequest("Result %d has title %q, state %q and outcome %q (§9.5).", i, r.TestCaseTitle, r.State, r.Outcome)
		}
		r.ID = firstTestResult + len(t.Results) + i
		ids[i].ID, r.Attachments = r.ID, nil
	}
	t.Results = append(t.Results, in...)
	t.Batches = append(t.Batches, len(in))
	c.note = strconv.Itoa(len(in)) + " results"
	return listOf(ids), nil
}

// result returns the result of a route, nil when the run has none of this id.
func (t *testRun) result(c *call) *TestResult {
	id, err := strconv.Atoi(c.v("testCaseResultId"))
	if i := id - firstTestResult; err == nil && i >= 0 && i < len(t.Results) {
		return &t.Results[i]
	}
	return nil
}

func noTestResult(c *call) error {
	return refuse(http.StatusNotFound, "TestObjectNotFoundException", "Test run %s has no result %s.", c.v("runId"), c.v("testCaseResultId"))
}

// getTestResults answers one result, or a page of them: $skip and $top.
func (s *Server) getTestResults(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.testRunOf(c)
	if err != nil {
		return nil, err
	}
	if c.v("testCaseResultId") != "" {
		if r := t.result(c); r != nil {
			return *r, nil
		}
		return nil, noTestResult(c)
	}
	page := t.Results
	if skip, err := strconv.Atoi(c.q("$skip")); err == nil && skip > 0 {
		page = page[min(skip, len(page)):]
	}
	top := maxTestResults
	if n, err := strconv.Atoi(c.q("$top")); err == nil && n > 0 {
		top = min(n, top)
	}
	return listOf(slices.Clone(page[:min(top, len(page))])), nil
}

func (s *Server) getTestStatistics(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.testRunOf(c)
	if err != nil {
		return nil, err
	}
	type statistic struct {
		State   string `json:"state"`
		Outcome string `json:"outcome"`
		Count   int    `json:"count"`
	}
	out := struct {
		Run        TestRun     `json:"run"`
		Statistics []statistic `json:"runStatistics"`
	}{Run: t.reference()}
	for _, outcome := range testOutcomes {
		n := 0
		for _, r := range t.Results {
			if strings.EqualFold(r.Outcome, outcome) {
				n++
			}
		}
		if n > 0 {
			out.Statistics = append(out.Statistics, statistic{"Completed", outcome, n})
		}
	}
	return out, nil
}

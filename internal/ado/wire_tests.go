package ado

import "github.com/dockless-ci/dockless/internal/job"

// The resources of test results and coverage (protocol Appendix A; the id of
// statistics is that of azure-devops-go-api v7, test/client.go).
const (
	LocationTestRuns              LocationID = "cadb3810-d47d-4a3c-a234-fe5f3be50138"
	LocationTestResults           LocationID = "4637d869-3a76-4468-8057-0bb02aa385cf"
	LocationTestResultAttachments LocationID = "2bffebe9-2f0f-4639-9af8-56129e9fed2d"
	LocationTestRunAttachments    LocationID = "4f004af4-a507-489c-9b13-cb62060beb11"
	LocationTestStatistics        LocationID = "0a42c424-d764-4a16-a2d5-5c85f87d0ae8"
	LocationCodeCoverage          LocationID = "77560e8a-4e8c-4d59-894e-a5f264c24444"
)

// Versions that requests ask for (protocol Appendix A).
const (
	versionTestRuns    = "7.1-preview.3"
	versionTestResults = "7.1-preview.6"
	versionTestOthers  = "7.1-preview.1"
)

// The states of a test run and of a result.
const (
	TestInProgress = "InProgress"
	TestCompleted  = "Completed"
	TestAborted    = "Aborted"
)

// NewTestRun is the body that makes a run.
type NewTestRun struct {
	Name             string       `json:"name"`
	State            string       `json:"state"`
	Automated        bool         `json:"automated"`
	Build            Reference    `json:"build"`
	BuildFlavor      string       `json:"buildFlavor"`
	BuildPlatform    string       `json:"buildPlatform"`
	ConfigurationIDs []int        `json:"configurationIds"`
	StartDate        job.Time     `json:"startDate"`
	CompleteDate     job.Time     `json:"completeDate"`
	CustomTestFields []TestField  `json:"customTestFields,omitempty"`
	Pipeline         *TestedStage `json:"pipelineReference,omitempty"`
}

// Reference names something of the service's by id.
type Reference struct {
	ID string `json:"id"`
}

// TestField is a field of a run that has no member of its own.
type TestField struct {
	Name  string `json:"fieldName"`
	Value string `json:"value"`
}

// TestedStage says where in a run tests ran.
type TestedStage struct {
	PipelineID int            `json:"pipelineId"`
	Stage      StageReference `json:"stageReference"`
	Phase      PhaseReference `json:"phaseReference"`
	Job        JobReference   `json:"jobReference"`
}

// StageReference names a try of a stage.
type StageReference struct {
	Name    string `json:"stageName"`
	Attempt int    `json:"attempt"`
}

// PhaseReference names a try of a job as it stands in the file.
type PhaseReference struct {
	Name    string `json:"phaseName"`
	Attempt int    `json:"attempt"`
}

// JobReference names a try of a job.
type JobReference struct {
	Name    string `json:"jobName"`
	Attempt int    `json:"attempt"`
}

// TestRunReference is what the service answers about a run.
type TestRunReference struct {
	ID    int    `json:"id"`
	State string `json:"state,omitempty"`
}

// EndTestRun is the body that ends a run.
type EndTestRun struct {
	State         string   `json:"state"`
	CompletedDate job.Time `json:"completedDate"`
}

// TestCaseResult is one result on its way to a run.
type TestCaseResult struct {
	ID                   int             `json:"id,omitempty"` // the service's
	TestCaseTitle        string          `json:"testCaseTitle"`
	AutomatedTestName    string          `json:"automatedTestName"`
	AutomatedTestStorage string          `json:"automatedTestStorage,omitempty"`
	AutomatedTestType    string          `json:"automatedTestType,omitempty"`
	Outcome              string          `json:"outcome"`
	State                string          `json:"state"`
	StartedDate          job.Time        `json:"startedDate,omitzero"`
	CompletedDate        job.Time        `json:"completedDate,omitzero"`
	DurationInMs         float64         `json:"durationInMs"`
	ErrorMessage         string          `json:"errorMessage,omitempty"`
	StackTrace           string          `json:"stackTrace,omitempty"`
	ComputerName         string          `json:"computerName,omitempty"`
	ResultGroupType      string          `json:"resultGroupType,omitempty"`
	SubResults           []TestSubResult `json:"subResults,omitempty"`
}

// TestSubResult is a part of a result.
type TestSubResult struct {
	DisplayName   string   `json:"displayName"`
	Outcome       string   `json:"outcome"`
	StartedDate   job.Time `json:"startedDate,omitzero"`
	CompletedDate job.Time `json:"completedDate,omitzero"`
	DurationInMs  int64    `json:"durationInMs"`
	ErrorMessage  string   `json:"errorMessage,omitempty"`
	StackTrace    string   `json:"stackTrace,omitempty"`
	ComputerName  string   `json:"computerName,omitempty"`
}

// TestStatistics counts the results of a run.
type TestStatistics struct {
	Run        TestRunReference `json:"run"`
	Statistics []TestStatistic  `json:"runStatistics"`
}

// TestStatistic counts the results of one outcome.
type TestStatistic struct {
	State    string `json:"state,omitempty"`
	Outcome  string `json:"outcome"`
	Count    int    `json:"count"`
	Metadata string `json:"resultMetadata,omitempty"` // flaky, rerun
}

// CodeCoverageData is a summary of coverage on its way to a build.
type CodeCoverageData struct {
	CoverageStats []job.CoverageCounter `json:"coverageStats"`
	BuildPlatform string                `json:"buildPlatform"`
	BuildFlavor   string                `json:"buildFlavor"`
}

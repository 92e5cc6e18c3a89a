package runner

import "github.com/dockless-ci/dockless/runner/internal/testtasks"

// testTasks are the built-ins that publish test results and coverage.
func testTasks() map[string]task {
	const coverage = "2a7ebc54-c13e-490e-81a5-d7561ab7cd97"
	return map[string]task{
		"0b0f01ed-7dde-43ff-9cbb-e48954daf9b1@2": {
			name: "PublishTestResults", title: "Publish Test Results", description: "Publish the results of tests to the run.",
			run: native(testtasks.PublishResults),
		},
		coverage + "@1": {
			name: "PublishCodeCoverageResults", title: "Publish code coverage results", description: "Publish a Cobertura or JaCoCo summary to the run.",
			run: native(testtasks.PublishCoverage1),
		},
		coverage + "@2": {
			name: "PublishCodeCoverageResults", title: "Publish code coverage results v2", description: "Publish code coverage summaries to the run.",
			run: native(testtasks.PublishCoverage2),
		},
	}
}

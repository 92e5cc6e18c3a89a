package emulator

// testLocations are those of test results and coverage (§9.5). The id of
// statistics is that of azure-devops-go-api v7, test/client.go.
func testLocations() []location {
	const area, run = "Test", "{project}/_apis/test/Runs/{runId}"
	return []location{
		{id: "cadb3810-d47d-4a3c-a234-fe5f3be50138", area: area, resource: "Runs", route: run, methods: map[string]endpoint{
			"GET":   {byAdmin | byJob, (*Server).getTestRuns},
			"POST":  {byJob, (*Server).addTestRun},
			"PATCH": {byJob, (*Server).updateTestRun},
		}},
		{id: "4637d869-3a76-4468-8057-0bb02aa385cf", area: area, resource: "Results", route: run + "/Results/{testCaseResultId}", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getTestResults},
			"POST": {byJob, (*Server).addTestResults},
		}},
		{id: "2bffebe9-2f0f-4639-9af8-56129e9fed2d", area: area, resource: "Attachments", route: run + "/Results/{testCaseResultId}/Attachments/{attachmentId}", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getTestAttachments},
			"POST": {byJob, (*Server).addTestAttachment},
		}},
		{id: "4f004af4-a507-489c-9b13-cb62060beb11", area: area, resource: "Attachments", route: run + "/Attachments/{attachmentId}", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getTestAttachments},
			"POST": {byJob, (*Server).addTestAttachment},
		}},
		{id: "0a42c424-d764-4a16-a2d5-5c85f87d0ae8", area: area, resource: "Statistics", route: run + "/Statistics", methods: map[string]endpoint{
			"GET": {byAdmin | byJob, (*Server).getTestStatistics},
		}},
		{id: "77560e8a-4e8c-4d59-894e-a5f264c24444", area: area, resource: "CodeCoverage", route: "{project}/_apis/test/CodeCoverage", methods: map[string]endpoint{
			"GET":  {byAdmin | byJob, (*Server).getCoverage},
			"POST": {byJob, (*Server).addCoverage},
		}},
	}
}

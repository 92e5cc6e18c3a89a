package emulator_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

// testing returns a running job and the address of its project's test resources.
func testingJob(t *testing.T) (srv *emulatortest.Server, p *peer, tests string, own header) {
	t.Helper()
	srv = emulatortest.New(t)
	p = online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	return srv, p, "/" + p.scope + "/_apis/test/", bearer(p.jobToken)
}

// newRun is the body that makes a test run.
func newRun(name string) map[string]any {
	return map[string]any{
		"name": name, "state": "InProgress", "automated": true, "build": map[string]string{"id": "501"}, "configurationIds": []int{},
		"customTestFields": []map[string]string{{"fieldName": "TestRunSystem", "value": "x"}},
	}
}

// manyResults is the body that adds n results, of which the first one failed.
func manyResults(n int) []map[string]any {
	var all []map[string]any
	for i := range n {
		outcome := "Passed"
		if i == 0 {
			outcome = "Failed"
		}
		all = append(all, map[string]any{"testCaseTitle": fmt.Sprint("t", i), "automatedTestName": "n", "outcome": outcome, "state": "Completed", "durationInMs": 1.5})
	}
	return all
}

// §9.5, from the first call to the last.
func TestATestRunIsFilledAndEnded(t *testing.T) {
	srv, p, tests, own := testingJob(t)
	var run struct{ ID int }
	p.want(200, "POST", tests+"Runs", newRun("unit"), own).into(t, &run)
	at := fmt.Sprintf("%sRuns/%d", tests, run.ID)
	var added struct{ Value []struct{ ID int } }
	p.want(200, "POST", at+"/Results", manyResults(1000), own).into(t, &added)
	p.want(200, "POST", at+"/Results", manyResults(2), own)
	if len(added.Value) != 1000 || added.Value[999].ID-added.Value[0].ID != 999 {
		t.Fatalf("%d results were added, want 1000 with ids in a row", len(added.Value))
	}
	result := fmt.Sprintf("%s/Results/%d", at, added.Value[1].ID)
	file := map[string]string{"attachmentType": "GeneralAttachment", "fileName": "out.log", "comment": "c", "stream": base64.StdEncoding.EncodeToString([]byte("text"))}
	var attached struct{ ID int }
	p.want(200, "POST", result+"/Attachments", file, own).into(t, &attached)
	p.want(200, "POST", at+"/Attachments", file, own)
	if got := p.want(200, "GET", fmt.Sprintf("%s/Attachments/%d", result, attached.ID), nil, own); string(got.body) != "text" {
		t.Errorf("the attachment is %q", got.body)
	}
	var counts struct {
		RunStatistics []struct {
			Outcome string
			Count   int
		}
	}
	p.want(200, "GET", at+"/Statistics", nil, own).into(t, &counts)
	if got := fmt.Sprint(counts.RunStatistics); got != "[{Passed 1000} {Failed 2}]" {
		t.Errorf("statistics = %s", got)
	}
	var page struct {
		Value []struct{ TestCaseTitle string }
	}
	p.want(200, "GET", at+"/Results?$skip=999&$top=2", nil, own).into(t, &page)
	if got := fmt.Sprint(page.Value); got != "[{t999} {t0}]" {
		t.Errorf("the page is %s", got)
	}
	p.want(200, "PATCH", at, map[string]string{"state": "Completed", "completedDate": "2026-08-22T09:11:07Z"}, own)
	var listed struct{ Value []struct{ State string } }
	p.want(200, "GET", tests+"Runs", nil, own).into(t, &listed)
	if len(listed.Value) != 1 || listed.Value[0].State != "Completed" {
		t.Errorf("runs = %+v", listed)
	}

	var shown emulator.TestEvidence
	p.want(200, "GET", "/_emulator/jobs/"+p.job+"/tests", nil).into(t, &shown)
	if len(shown.Runs) != 1 || shown.Runs[0].Fields["TestRunSystem"] != "x" || len(shown.Runs[0].Results) != 1002 || shown.Runs[0].Results[1].Attachments[0].Name != "out.log" {
		t.Errorf("the control call shows %+v", shown)
	}
	if diff := cmp.Diff([]int{1000, 2}, shown.Runs[0].Batches); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
	p.want(404, "GET", "/_emulator/jobs/"+strings.Repeat("0", 8)+"/tests", nil)
	if v := srv.Violations(); len(v) > 0 {
		t.Errorf("violations: %+v", v)
	}
}

func TestTestRunsRefuseWhatTheServiceWould(t *testing.T) {
	srv, p, tests, own := testingJob(t)
	bad := func(key string, value any) map[string]any { m := newRun("unit"); m[key] = value; return m }
	const request, missing = "VssRequestContentException", "TestObjectNotFoundException"
	p.refused(400, request, "POST", tests+"Runs", bad("name", ""), own)
	p.refused(400, request, "POST", tests+"Runs", bad("state", "Completed"), own)
	p.refused(404, "BuildNotFoundException", "POST", tests+"Runs", bad("build", map[string]string{"id": "7"}), own)
	p.refused(404, "ProjectDoesNotExistException", "POST", "/"+p.job+"/_apis/test/Runs", newRun("unit"), own)
	p.refused(403, "AccessDeniedException", "POST", tests+"Runs", newRun("unit"), p.pat())
	p.refused(403, "AccessDeniedException", "POST", tests+"Runs", newRun("unit"), bearer(p.agentToken))
	var run struct{ ID int }
	p.want(200, "POST", tests+"Runs", newRun("unit"), own).into(t, &run)
	at := fmt.Sprintf("%sRuns/%d", tests, run.ID)
	p.refused(404, missing, "POST", tests+"Runs/1/Results", manyResults(1), own)
	p.refused(400, request, "POST", at+"/Results", manyResults(1001), own)
	p.refused(400, request, "POST", at+"/Results", manyResults(0), own)
	p.refused(400, request, "POST", at+"/Results", []map[string]any{{"testCaseTitle": "t", "outcome": "Fine", "state": "Completed"}}, own)
	file := map[string]string{"attachmentType": "GeneralAttachment", "fileName": "a", "stream": "aGk="}
	p.refused(404, missing, "POST", at+"/Results/100000/Attachments", file, own)
	p.refused(404, missing, "GET", at+"/Results/5", nil, own)
	p.refused(404, missing, "GET", at+"/Attachments/5", nil, own)
	p.refused(400, request, "POST", at+"/Attachments", map[string]string{"attachmentType": "x", "fileName": "../a", "stream": ""}, own)
	p.refused(400, request, "POST", at+"/Attachments", map[string]string{"attachmentType": "x", "fileName": "a", "stream": "?"}, own)
	p.refused(400, request, "PATCH", at, map[string]string{"state": "Waiting"}, own)
	p.want(200, "PATCH", at, map[string]string{"state": "Completed"}, own)
	p.refused(409, emulator.OrderRefused, "POST", at+"/Results", manyResults(1), own)
	p.refused(409, emulator.OrderRefused, "POST", at+"/Attachments", file, own)
	p.refused(409, emulator.OrderRefused, "PATCH", at, map[string]string{"state": "Completed"}, own)
	if n := len(srv.Violations()); n != 5 { // two batches, and three calls after the end
		t.Errorf("%d violations, want 5: %+v", n, srv.Violations())
	}

	other := online(t, srv, "b")
	srv.Queue(emulatortest.Script("true"))
	other.running()
	other.refused(403, "AccessDeniedException", "GET", at, nil, bearer(other.jobToken))
	other.refused(403, "AccessDeniedException", "POST", tests+"Runs", newRun("unit"), bearer(other.jobToken))
}

func TestCoverageOfABuildIsKept(t *testing.T) {
	_, p, tests, own := testingJob(t)
	summary := func(covered int) map[string]any {
		return map[string]any{"coverageStats": []map[string]any{{"label": "Lines", "covered": covered, "total": 20, "position": 4}}, "buildPlatform": "linux", "buildFlavor": ""}
	}
	p.want(204, "POST", tests+"CodeCoverage?buildId=501", summary(10), own)
	p.refused(400, "VssRequestContentException", "POST", tests+"CodeCoverage?buildId=501", summary(21), own)
	p.refused(400, "VssRequestContentException", "POST", tests+"CodeCoverage?buildId=501", map[string]any{}, own)
	p.refused(404, "BuildNotFoundException", "POST", tests+"CodeCoverage", summary(10), own)
	got := string(p.want(200, "GET", tests+"CodeCoverage?buildId=501", nil, own).body)
	if want := `"coverageStats":[{"label":"Lines","covered":10,"total":20,"position":4}],"buildPlatform":"linux"`; !strings.Contains(got, want) {
		t.Errorf("coverage = %s, want %s", got, want)
	}
}

package ado_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

func testClient(t *testing.T, url string) *ado.TestClient {
	t.Helper()
	return testClientWith(t, url, options(t))
}

func testClientWith(t *testing.T, url string, o ado.Options) *ado.TestClient {
	t.Helper()
	m := &job.Message{JobID: "j", Plan: job.Plan{ScopeIdentifier: "p"}, Variables: map[string]job.Variable{"build.buildId": {Value: "501"}, "System.StageName": {Value: "s"}}}
	m.Resources.Endpoints = []job.Endpoint{{
		Name: job.SystemConnection, URL: url,
		Authorization: job.Authorization{Scheme: "OAuth", Parameters: map[string]string{"AccessToken": secret}},
	}}
	c, err := ado.NewTestClient(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// testServer answers as the service does; refuse may answer first.
func testServer(t *testing.T, refuse func(w http.ResponseWriter, r *http.Request) bool) *service {
	t.Helper()
	return newService(t, func(w http.ResponseWriter, r *http.Request) {
		if refuse != nil && refuse(w, r) {
			return
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/Results"):
			var in []json.RawMessage
			_ = json.NewDecoder(r.Body).Decode(&in)
			var out []ado.TestCaseResult
			for i := range in {
				out = append(out, ado.TestCaseResult{ID: 100000 + i})
			}
			answer(w, http.StatusOK, ado.ListOf(out...))
		case strings.HasSuffix(r.URL.Path, "/Statistics"):
			answer(w, http.StatusOK, ado.TestStatistics{Statistics: []ado.TestStatistic{
				{Outcome: "Passed", Count: 9}, {Outcome: "Failed", Count: 2}, {Outcome: "Failed", Count: 5, Metadata: "flaky"},
			}})
		default:
			answer(w, http.StatusOK, ado.TestRunReference{ID: 7})
		}
	})
}

// results are n results, each changed by change.
func results(n int, change func(int, *job.TestResult)) iter.Seq2[job.TestResult, error] {
	return func(yield func(job.TestResult, error) bool) {
		for i := range n {
			r := job.TestResult{Title: fmt.Sprint("t", i), Outcome: "Passed"}
			if change != nil {
				change(i, &r)
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func paths(srv *service) []string {
	var all []string
	for _, r := range srv.asked() {
		all = append(all, r.Method+" "+strings.TrimPrefix(r.Path, "/p/_apis/test/"))
	}
	return all
}

// Protocol §9.5.
func TestARunIsPublishedAsTheServiceWantsIt(t *testing.T) {
	srv := testServer(t, nil)
	content := strings.Repeat("0123456789", 10_000) + "x" // no multiple of three
	started := time.Date(2026, 8, 22, 9, 11, 7, 0, time.UTC)
	file := func(name string, err error) job.TestAttachment {
		return job.TestAttachment{Name: name, Content: func() ([]byte, error) { return []byte(content), err }}
	}
	run := job.TestRun{Name: "unit", Platform: "linux", Flavor: "debug", System: "x", Started: started, Completed: started.Add(time.Minute)}
	receipt, err := testClient(t, srv.URL).PublishTests(t.Context(), run, results(2001, func(i int, r *job.TestResult) {
		if i == 1 {
			*r = job.TestResult{
				Title: "bad", Automated: job.AutomatedTest{Name: "n", Storage: "s", Type: "JUnit"}, Outcome: "Failed", Started: started, Duration: 1500 * time.Microsecond,
				Message: "m", Stack: "st", Attachments: []job.TestAttachment{file("out.log", nil)}, Parts: []job.TestResult{{Title: "row", Outcome: "Failed", Message: "pm"}},
			}
		}
	}), []job.TestAttachment{file("/a/results.xml", nil), file("gone.xml", errors.New("it is gone"))})
	if err != nil {
		t.Fatal(err)
	}
	if receipt.RunID != 7 || receipt.Results != 2001 || receipt.Failed != 2 || len(receipt.Skipped) != 1 || receipt.Skipped[0].Error() != "attaching gone.xml: it is gone" {
		t.Errorf("receipt = %+v", receipt)
	}
	want := []string{
		"POST Runs", "POST Runs/7/Results", "POST Runs/7/Results/100001/Attachments", "POST Runs/7/Results", "POST Runs/7/Results",
		"POST Runs/7/Attachments", "PATCH Runs/7", "GET Runs/7/Statistics",
	}
	if diff := cmp.Diff(want, paths(srv)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	asked := srv.asked()
	for i, want := range map[int]string{
		0: `"name":"unit","state":"InProgress","automated":true,"build":{"id":"501"},"buildFlavor":"debug","buildPlatform":"linux","configurationIds":[],"startDate":"2026-08-22T09:11:07.0000000Z"`,
		1: `{"testCaseTitle":"bad","automatedTestName":"n","automatedTestStorage":"s","automatedTestType":"JUnit","outcome":"Failed","state":"Completed","startedDate":"2026-08-22T09:11:07.0000000Z","completedDate":"2026-08-22T09:11:07.0015000Z","durationInMs":1.5,"errorMessage":"m","stackTrace":"st","resultGroupType":"dataDriven","subResults":[{"displayName":"row"`,
		6: `{"state":"Completed","completedDate":"2026-08-22T09:12:07.0000000Z"}`,
	} {
		if !strings.Contains(asked[i].Body, want) {
			t.Errorf("call %d sent %.600s, want %s", i, asked[i].Body, want)
		}
	}
	var sent struct{ AttachmentType, FileName, Stream string }
	if err := json.Unmarshal([]byte(asked[5].Body), &sent); err != nil {
		t.Fatal(err)
	}
	if got, _ := base64.StdEncoding.DecodeString(sent.Stream); string(got) != content || sent.FileName != "results.xml" || sent.AttachmentType != "GeneralAttachment" {
		t.Errorf("%d bytes were attached as %s of type %s", len(got), sent.FileName, sent.AttachmentType)
	}
	if !strings.HasPrefix(asked[5].Header.Get("Content-Type"), "application/json") || asked[5].Header.Get("Content-Length") == "" || asked[0].Header.Get("Authorization") != "Bearer "+secret {
		t.Errorf("headers = %v", asked[5].Header)
	}
}

func TestLongResultsMakeSmallerBatches(t *testing.T) {
	srv := testServer(t, nil)
	stack := strings.Repeat("x", 1<<20)
	if _, err := testClient(t, srv.URL).PublishTests(t.Context(), job.TestRun{}, results(9, func(_ int, r *job.TestResult) { r.Stack = stack }), nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range srv.asked() {
		if len(r.Body) > 5<<20 {
			t.Errorf("%s %s has %d bytes", r.Method, r.Path, len(r.Body))
		}
	}
}

// Outputs are held until they are attached, so they count.
func TestLongOutputsMakeSmallerBatches(t *testing.T) {
	srv := testServer(t, nil)
	var most, held int
	receipt, err := testClient(t, srv.URL).PublishTests(t.Context(), job.TestRun{}, results(40, func(_ int, r *job.TestResult) {
		held++
		most = max(most, held)
		r.Attachments = []job.TestAttachment{{Name: "out.log", Held: 1 << 20, Content: func() ([]byte, error) { held--; return []byte("x"), nil }}}
	}), nil)
	if err != nil || receipt.Results != 40 || most > 5 {
		t.Errorf("published %+v (%v), holding %d outputs of a mebibyte at once, want 5 at most", receipt, err, most)
	}
}

func TestARunWithoutStatisticsIsPublishedAllTheSame(t *testing.T) {
	srv := testServer(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/Statistics") {
			refuse(w, http.StatusForbidden, ado.KeyAccessDenied)
			return true
		}
		return false
	})
	receipt, err := testClient(t, srv.URL).PublishTests(t.Context(), job.TestRun{}, results(1, nil), nil)
	if err != nil || receipt.Failed != -1 || len(receipt.Skipped) != 1 || !strings.HasPrefix(receipt.Skipped[0].Error(), "the server did not say how many tests failed") {
		t.Errorf("receipt = %+v (%v), want the run published and a word about what the server did not say", receipt, err)
	}
}

// The runner leaves a canceled job fifteen seconds.
func TestAbortingARunTakesFiveSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		canceled := errors.New("the job was canceled")
		o := options(t)
		o.HTTP = inMemory{&service{handle: func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/Results"):
				cancel(canceled)
				<-r.Context().Done()
			case r.Method == http.MethodPatch:
				<-r.Context().Done() // the server has stopped answering
			default:
				answer(w, http.StatusOK, ado.TestRunReference{ID: 7})
			}
		}}}
		started := time.Now()
		_, err := testClientWith(t, "http://tests.example", o).PublishTests(ctx, job.TestRun{}, results(1, nil), nil)
		if took := time.Since(started); !errors.Is(err, canceled) || took > 5*time.Second {
			t.Errorf("PublishTests = %v after %s, want the cause within 5 s", err, took)
		}
	})
}

func TestARunThatCannotBeCompletedIsAborted(t *testing.T) {
	broken := errors.New("line 7 is broken")
	for what, c := range map[string]struct {
		results iter.Seq2[job.TestResult, error]
		refuse  func(w http.ResponseWriter, r *http.Request) bool
		want    string
	}{
		"a file that breaks": {results: func(yield func(job.TestResult, error) bool) {
			_ = yield(job.TestResult{}, nil) && yield(job.TestResult{}, broken)
		}, want: "publishing test run 7: line 7 is broken"},
		"a server that refuses": {results: results(1, nil), refuse: func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/Results") {
				refuse(w, http.StatusForbidden, ado.KeyAccessDenied)
				return true
			}
			return false
		}, want: "publishing test run 7: adding 1 results: POST /p/_apis/test/Runs/7/Results: 403"},
	} {
		t.Run(what, func(t *testing.T) {
			srv := testServer(t, c.refuse)
			_, err := testClient(t, srv.URL).PublishTests(t.Context(), job.TestRun{}, c.results, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("PublishTests = %v, want %q", err, c.want)
			}
			asked := srv.asked()
			if last := asked[len(asked)-1]; last.Method != http.MethodPatch || !strings.Contains(last.Body, `"state":"Aborted"`) {
				t.Errorf("the last call is %s %s, want the run aborted", last.Method, last.Body)
			}
		})
	}
}

// A body that is encoded as it is sent can be sent again.
func TestAnAttachmentIsSentAgainAfterAFault(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	srv := testServer(t, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/Attachments") {
			return false
		}
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(body))
		if len(bodies) == 1 {
			refuse(w, http.StatusServiceUnavailable, "")
			return true
		}
		return false
	})
	receipt, err := testClient(t, srv.URL).PublishTests(t.Context(), job.TestRun{}, results(0, nil), []job.TestAttachment{
		{Name: "a", Content: func() ([]byte, error) { return []byte("hello"), nil }},
	})
	if err != nil || len(receipt.Skipped) > 0 || len(bodies) != 2 || bodies[0] != bodies[1] || !strings.Contains(bodies[1], `"stream":"aGVsbG8="}`) {
		t.Errorf("bodies = %q, receipt %+v (%v)", bodies, receipt, err)
	}
}

func TestCoverageNeedsABuild(t *testing.T) {
	srv := testServer(t, nil)
	coverage := job.Coverage{Platform: "linux", Counters: []job.CoverageCounter{{Label: "Lines", Covered: 1, Total: 2, Position: 4}}}
	if err := testClient(t, srv.URL).PublishCoverage(t.Context(), coverage); err != nil {
		t.Fatal(err)
	}
	r := srv.asked()[0]
	if r.Path != "/p/_apis/test/CodeCoverage" || r.Query != "buildId=501" || r.Body != `{"coverageStats":[{"label":"Lines","covered":1,"total":2,"position":4}],"buildPlatform":"linux","buildFlavor":""}` {
		t.Errorf("asked %s?%s with %s", r.Path, r.Query, r.Body)
	}
	m := &job.Message{}
	m.Resources.Endpoints = []job.Endpoint{{Name: job.SystemConnection, URL: srv.URL, Authorization: job.Authorization{Parameters: map[string]string{"AccessToken": secret}}}}
	c, err := ado.NewTestClient(m, options(t))
	if err == nil {
		err = c.PublishCoverage(t.Context(), coverage)
	}
	if err == nil || !strings.Contains(err.Error(), "belongs to no build") {
		t.Errorf("without a build: %v", err)
	}
}

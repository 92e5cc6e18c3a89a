package ado_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

const planPath = "/P/_apis/distributedtask/hubs/Build/plans/L"

func message(url string) *job.Message {
	return &job.Message{
		JobID: "J", RequestID: 903, Plan: job.Plan{ScopeIdentifier: "P", PlanType: "Build", PlanID: "L", Version: 9},
		Timeline: job.TimelineReference{ID: "T"},
		Resources: job.Resources{Endpoints: []job.Endpoint{{
			Name: job.SystemConnection, URL: url + "/", Authorization: job.Authorization{Scheme: "OAuth", Parameters: map[string]string{"AccessToken": "jobtoken"}},
		}}},
	}
}

func reporter(t *testing.T, m *job.Message) *ado.Reporter {
	t.Helper()
	client, err := ado.NewJobClient(m, options(t))
	if err != nil {
		t.Fatal(err)
	}
	return openReporter(t, client, m)
}

// openReporter opens a reporter that keeps log text in a directory of the test.
func openReporter(t *testing.T, client *ado.JobClient, m *job.Message) *ado.Reporter {
	t.Helper()
	r := ado.OpenReporter(t.Context(), ado.ReporterConfig{
		Client: client, Message: m, Log: slog.New(slog.DiscardHandler), ShuttingDown: func() bool { return true },
		SpoolDir: t.TempDir(), SpoolLimit: ado.DefaultSpoolLimit,
	})
	t.Cleanup(r.Close)
	r.SetUploadPause(10 * time.Millisecond)
	return r
}

// logsAnswered answers the creation of logs with ids, and everything else with nothing.
func logsAnswered(t *testing.T) http.HandlerFunc {
	t.Helper()
	var id atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == planPath+"/logs" {
			answer(w, http.StatusOK, ado.Log{ID: ado.LogID(id.Add(1)), Location: "http://log"})
		}
	}
}

// Protocol §7.11: the event comes when feed, uploads, their records and all other
// records have arrived. Those may overlap; the queues also send on their own.
func TestA22TheEventComesAfterEverythingElse(t *testing.T) {
	srv := newService(t, nil)
	srv.handle = logsAnswered(t)
	r := reporter(t, message(srv.URL))
	r.UpdateRecord(job.Record{ID: "J", Type: job.TypeJob, State: job.InProgress})
	r.UpdateRecord(job.Record{ID: "S", ParentID: "J", Type: job.TypeTask, State: job.InProgress})
	r.WriteLine("S", []byte("hello"))
	r.Attach(t.Context(), "S", job.Attachment{Type: job.AttachmentSummary, Name: "a b.md", Content: []byte("# hi")})
	r.UpdateRecord(job.Record{ID: "S", State: job.Completed, Result: job.Succeeded, Variables: map[string]job.Variable{"tag": {Value: "1"}}})
	r.UpdateRecord(job.Record{ID: "J", State: job.Completed, Result: job.Succeeded})
	if err := r.Complete(t.Context(), job.Succeeded); err != nil {
		t.Fatal(err)
	}
	asked := srv.asked()
	last := asked[len(asked)-1]
	if last.Path != planPath+"/events" || last.Body != `{"name":"JobCompleted","jobId":"J","requestId":903,"result":"succeeded","agentShuttingDown":true}` {
		t.Errorf("last request = %+v, want the event", last)
	}
	final := map[string]job.Record{}
	fed, attached := false, false
	logs := map[string]string{}
	for _, q := range asked {
		if got := q.Header.Get("Authorization"); got != "Bearer jobtoken" {
			t.Errorf("%s %s is authorized with %q, want the job's token", q.Method, q.Path, got)
		}
		switch {
		case strings.HasSuffix(q.Path, "/timelines/T/records"):
			var body ado.RecordUpdates
			if err := json.Unmarshal([]byte(q.Body), &body); err != nil || body.Count != len(body.Value) {
				t.Fatalf("records body %s: %v", q.Body, err)
			}
			for _, rec := range body.Value {
				final[string(rec.ID)] = final[string(rec.ID)].Merge(rec)
			}
		case strings.HasPrefix(q.Path, planPath+"/logs/"):
			logs[strings.TrimPrefix(q.Path, planPath+"/logs/")] = q.Body
			if ct := q.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/octet-stream") {
				t.Errorf("a page has type %q", ct)
			}
		case strings.Contains(q.Path, "/attachments/"):
			if q.Method != http.MethodPut || q.Path != planPath+"/timelines/T/records/S/attachments/DistributedTask.Core.Summary/a b.md" || q.Body != "# hi" {
				t.Errorf("attachment request = %+v", q)
			}
			attached = true
		case strings.HasSuffix(q.Path, "/feed"):
			if q.Path != planPath+"/timelines/T/records/J/feed" || q.Body != `{"count":1,"value":["hello"],"stepId":"S","startLine":1}` {
				t.Errorf("feed request = %+v", q)
			}
			fed = true
		}
	}
	if len(logs) != 2 || !strings.HasSuffix(logs["1"], "Z hello\n") || !strings.HasSuffix(logs["2"], "Z hello\n") {
		t.Errorf("logs = %v, want one of the step and one of the job", logs)
	}
	for _, id := range []string{"J", "S"} {
		if f := final[id]; f.State != job.Completed || f.Log == nil || f.Log.ID == 0 {
			t.Errorf("record %s ends as %+v, want it completed with its log", id, f)
		}
	}
	if !fed || !attached {
		t.Errorf("live lines sent: %t, attachment sent: %t, want both", fed, attached)
	}
	if final["S"].Variables["tag"].Value != "1" {
		t.Error("the output is missing")
	}
}

// A36, protocol §7.3.
func TestA36LostOutputsFailTheJob(t *testing.T) {
	for name, c := range map[string]struct {
		variables map[string]job.Variable
		want      string
	}{
		"outputs":    {map[string]job.Variable{"tag": {Value: "1"}}, "failed"},
		"no outputs": {nil, "succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/records") {
					refuse(w, http.StatusInternalServerError, "")
				}
			})
			r := reporter(t, message(srv.URL))
			r.UpdateRecord(job.Record{ID: "S", State: job.Completed, Variables: c.variables})
			err := r.Complete(shortly(t), job.Succeeded)
			if errors.Is(err, ado.ErrOutputsLost) != (c.variables != nil) {
				t.Errorf("Complete = %v", err)
			}
			asked := srv.asked()
			if last := asked[len(asked)-1]; !strings.Contains(last.Body, `"result":"`+c.want+`"`) {
				t.Errorf("event = %s, want %s", last.Body, c.want)
			}
		})
	}
}

func TestALogThatCannotBeStoredDoesNotFailTheJob(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/logs") || strings.HasSuffix(r.URL.Path, "/feed") {
			refuse(w, http.StatusInternalServerError, "")
		}
	})
	r := reporter(t, message(srv.URL))
	r.WriteLine("S", []byte("hello"))
	if err := r.Complete(shortly(t), job.Succeeded); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
}

// shortly returns a context that gives up on a server that does not come back.
func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAPageIsSentAgainWhole(t *testing.T) {
	var id, appends atomic.Int64
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == planPath+"/logs":
			answer(w, http.StatusOK, ado.Log{ID: ado.LogID(id.Add(1))})
		case strings.Contains(r.URL.Path, "/logs/") && appends.Add(1) == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r := reporter(t, message(srv.URL))
	r.WriteLine("J", []byte(strings.Repeat("x", 300_000)))
	if err := r.Complete(t.Context(), job.Succeeded); err != nil {
		t.Fatal(err)
	}
	pages := slices.DeleteFunc(srv.asked(), func(q request) bool { return !strings.Contains(q.Path, "/logs/") })
	if len(pages) != 2 {
		t.Fatalf("%d uploads, want a failed and a good one", len(pages))
	}
	if diff := cmp.Diff(pages[0].Body, pages[1].Body); diff != "" || pages[1].Header.Get("Content-Length") != "300030" {
		t.Errorf("the second attempt differs, or its length is %s", pages[1].Header.Get("Content-Length"))
	}
}

// An attempt that broke may have arrived: the plan is over by then (S12).
func TestACompletionThatArrivedUnseenIsNoError(t *testing.T) {
	var n atomic.Int64
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			if n.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
			refuse(w, http.StatusNotFound, ado.KeyPlanNotFound)
		}
	})
	r := reporter(t, message(srv.URL))
	r.SetCompletePause(time.Millisecond)
	if err := r.Complete(t.Context(), job.Succeeded); err != nil || n.Load() != 2 {
		t.Errorf("Complete = %v after %d attempts, want success at the second", err, n.Load())
	}
}

func TestAPlanThatIsOverIsFinal(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			refuse(w, http.StatusForbidden, ado.KeyPlanSecurity)
		}
	})
	if err := reporter(t, message(srv.URL)).Complete(t.Context(), job.Succeeded); !errors.Is(err, ado.ErrPlanGone) || len(srv.asked()) != 1 {
		t.Errorf("Complete = %v after %d requests, want ErrPlanGone at once", err, len(srv.asked()))
	}
}

func TestA23AnOlderPlanIsNotCompletedByEvent(t *testing.T) {
	srv := newService(t, nil)
	m := message(srv.URL)
	m.Plan.Version = 7
	if err := reporter(t, m).Complete(t.Context(), job.Succeeded); err != nil || len(srv.asked()) != 0 {
		t.Errorf("Complete = %v with %+v, want silence", err, srv.asked())
	}
}

func TestAttachmentsNeedFileNames(t *testing.T) {
	client, err := ado.NewJobClient(message("http://127.0.0.1:1"), options(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "a/b", `a\b`, "a\nb"} {
		if err := client.Attach(t.Context(), "S", "kind", name, strings.NewReader("")); err == nil || !strings.Contains(err.Error(), "not a file name") {
			t.Errorf("Attach(%q) = %v, want a refusal of the name", name, err)
		}
	}
}

// One operation is a line of a hundred bytes on its way into two stored logs,
// over HTTP, the end of the job included.
func BenchmarkReporter(b *testing.B) {
	srv := newService(b, nil)
	var id atomic.Int64
	srv.discard = true
	srv.handle = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == planPath+"/logs" {
			answer(w, http.StatusOK, ado.Log{ID: ado.LogID(id.Add(1)), Location: "http://log"})
		}
	}
	m := message(srv.URL)
	client, err := ado.NewJobClient(m, options(b))
	if err != nil {
		b.Fatal(err)
	}
	line := []byte(strings.Repeat("l", 99))
	b.SetBytes(100)
	b.ReportAllocs()
	r := ado.OpenReporter(b.Context(), ado.ReporterConfig{Client: client, Message: m, Log: slog.New(slog.DiscardHandler), ShuttingDown: func() bool { return false }})
	defer r.Close()
	for range b.N {
		r.WriteLine("S", line)
	}
	if err := r.Complete(b.Context(), job.Succeeded); err != nil {
		b.Fatal(err)
	}
}

// A record may be made half a second after the first ones; the service refuses an
// attachment to one that it does not know.
func TestARecordIsKnownBeforeItsAttachments(t *testing.T) {
	srv := newService(t, nil)
	srv.handle = logsAnswered(t)
	r := reporter(t, message(srv.URL))
	r.UpdateRecord(job.Record{ID: "J", Type: job.TypeJob, State: job.InProgress})
	for len(srv.asked()) == 0 {
		time.Sleep(time.Millisecond)
	}
	r.UpdateRecord(job.Record{ID: "S", ParentID: "J", Type: job.TypeTask, State: job.Pending})
	r.Attach(t.Context(), "S", job.Attachment{Type: job.AttachmentSummary, Name: "early.md", Content: []byte("# hi")})
	if err := r.Complete(t.Context(), job.Succeeded); err != nil {
		t.Fatal(err)
	}
	known := false
	for _, q := range srv.asked() {
		known = known || strings.HasSuffix(q.Path, "/timelines/T/records") && strings.Contains(q.Body, `"id":"S"`)
		if strings.Contains(q.Path, "/attachments/") {
			if !known {
				t.Error("the attachment came before its record")
			}
			return
		}
	}
	t.Error("there was no attachment")
}

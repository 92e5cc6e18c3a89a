package ado_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

// Protocol §7.4: the timeline is made first, and one that exists is as good.
func TestRecordsBelowAStepGoIntoATimelineOfTheirOwn(t *testing.T) {
	for name, made := range map[string]http.HandlerFunc{
		"which is new": func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, ado.Timeline{ID: "D"}) },
		"which was made by a request whose answer was lost": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusConflict, map[string]string{"typeKey": "TimelineExistsException", "message": "it exists"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newService(t, nil)
			srv.handle = func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && r.URL.Path == planPath+"/timelines" {
					made(w, r)
				}
			}
			r := reporter(t, message(srv.URL))
			// A step chooses the ids of what is below it: here that of the step itself.
			r.UpdateRecord(job.Record{ID: "S", Name: "step", Details: &job.TimelineReference{ID: "D"}})
			r.UpdateRecord(job.Record{ID: "S", Name: "detail", Timeline: "D", State: job.InProgress})
			r.UpdateRecord(job.Record{ID: "S", Timeline: "D", State: job.Completed, Result: job.Succeeded})
			if err := r.Complete(t.Context(), job.Succeeded); err != nil {
				t.Fatal(err)
			}
			var order []string
			sent := map[string]job.Record{}
			for _, q := range srv.asked() {
				if at := strings.Index(q.Path, "/timelines"); at >= 0 {
					order = append(order, q.Method+" "+q.Path[at:])
				}
				if strings.HasSuffix(q.Path, "/records") {
					var body ado.RecordUpdates
					if err := json.Unmarshal([]byte(q.Body), &body); err != nil {
						t.Fatal(err)
					}
					for _, rec := range body.Value {
						sent[q.Path] = sent[q.Path].Merge(rec)
					}
				}
			}
			// The end of the job hurries an attempt that is under way, which is then made
			// once more.
			if n := len(slices.DeleteFunc(slices.Clone(order), func(o string) bool { return o != "POST /timelines" })); n < 1 || n > 2 {
				t.Errorf("the timeline was made %d times: %q", n, order)
			}
			if post, patch := slices.Index(order, "POST /timelines"), slices.Index(order, "PATCH /timelines/D/records"); post < 0 || patch < post {
				t.Errorf("requests came as %q, want the timeline made before its records", order)
			}
			main, below := sent[planPath+"/timelines/T/records"], sent[planPath+"/timelines/D/records"]
			if main.Name != "step" || main.Details == nil || main.Details.ID != "D" || main.State != "" {
				t.Errorf("the step's record became %+v", main)
			}
			if below.Name != "detail" || below.State != job.Completed {
				t.Errorf("the record below became %+v", below)
			}
		})
	}
}

func TestATimelineThatCannotBeMadeHoldsNothingUp(t *testing.T) {
	srv := newService(t, nil)
	srv.handle = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == planPath+"/timelines" {
			refuse(w, http.StatusForbidden, "AccessDeniedException")
		}
	}
	r := reporter(t, message(srv.URL))
	r.UpdateRecord(job.Record{ID: "X", Name: "detail", Timeline: "D", State: job.InProgress})
	r.UpdateRecord(job.Record{ID: "S", Name: "step", State: job.Completed, Result: job.Succeeded, Variables: map[string]job.Variable{"v": {Value: "1"}}})
	if err := r.Complete(t.Context(), job.Succeeded); err != nil {
		t.Fatal(err)
	}
	asked := srv.asked()
	if last := asked[len(asked)-1]; last.Path != planPath+"/events" || !strings.Contains(last.Body, `"succeeded"`) {
		t.Errorf("the job ended with %s %s", last.Path, last.Body)
	}
	if !slices.ContainsFunc(asked, func(q request) bool {
		return q.Path == planPath+"/timelines/T/records" && strings.Contains(q.Body, `"step"`)
	}) {
		t.Error("the step's record did not arrive")
	}
}

// detailsOf reports to a server that answers below for the timelines of steps, and
// returns what it was asked, and when the job's own timeline was first.
func detailsOf(t *testing.T, below http.HandlerFunc, report func(t *testing.T, r *ado.Reporter)) (asked []request, own time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		srv := &service{}
		srv.handle = func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == planPath+"/timelines/T/records" && own == 0 {
				own = time.Since(started)
			}
			if r.URL.Path == planPath+"/timelines" || strings.HasPrefix(r.URL.Path, planPath+"/timelines/D") {
				below(w, r)
			}
		}
		o := options(t)
		o.HTTP = inMemory{srv}
		m := message("http://details.example")
		client, err := ado.NewJobClient(m, o)
		if err != nil {
			t.Fatal(err)
		}
		r := openReporter(t, client, m)
		report(t, r)
		r.Close()
		asked = srv.asked()
	})
	return asked, own
}

// A server that fails for the timeline of a step, for whatever reason, may have
// nothing against the job's.
func TestATimelineThatFailsHoldsNothingUp(t *testing.T) {
	for name, failing := range map[string]string{"when it is made": http.MethodPost, "when records are sent": http.MethodPatch} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			below := func(w http.ResponseWriter, r *http.Request) {
				if r.Method == failing {
					w.WriteHeader(http.StatusInternalServerError)
				}
			}
			var took time.Duration
			asked, _ := detailsOf(t, below, func(t *testing.T, r *ado.Reporter) {
				r.SetLog(slog.New(slog.NewTextHandler(&log, nil)))
				for i := range 100 {
					r.UpdateRecord(job.Record{ID: job.RecordID(fmt.Sprint("X", i)), Timeline: "D", State: job.InProgress})
				}
				time.Sleep(time.Minute)
				r.UpdateRecord(job.Record{ID: "X1", Timeline: "D", State: job.Completed})
				r.UpdateRecord(job.Record{ID: "S", Name: "step", State: job.Completed, Variables: map[string]job.Variable{"v": {Value: "1"}}})
				before := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				if err := r.Complete(ctx, job.Succeeded); err != nil {
					t.Errorf("Complete = %v, want the outputs delivered", err)
				}
				took = time.Since(before)
			})
			if took > 15*time.Second {
				t.Errorf("ending the job took %s", took)
			}
			if n := strings.Count(log.String(), "records below a step are dropped"); n < 1 || n > 2 || !strings.Contains(log.String(), "records=100 ") {
				t.Errorf("the log is:\n%s\nwant one warning for all hundred", log.String())
			}
			last := asked[len(asked)-1]
			if !strings.HasSuffix(last.Path, "/events") || !strings.Contains(last.Body, `"succeeded"`) {
				t.Errorf("the job ended with %s %s", last.Path, last.Body)
			}
		})
	}
}

func TestTheJobsRecordsDoNotWaitForThoseOfATimelineBelow(t *testing.T) {
	for name, below := range map[string]http.HandlerFunc{
		"of which there are many": func(http.ResponseWriter, *http.Request) {},
		"that is not answered":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			_, own := detailsOf(t, below, func(_ *testing.T, r *ado.Reporter) {
				for i := range 10_000 {
					r.UpdateRecord(job.Record{ID: job.RecordID(fmt.Sprint("X", i)), Timeline: "D", State: job.InProgress})
				}
				time.Sleep(10 * time.Second)
				r.UpdateRecord(job.Record{ID: "S", Name: "step", State: job.InProgress})
				time.Sleep(2 * time.Second)
			})
			if own < 10*time.Second || own > 11*time.Second {
				t.Errorf("the step's record was sent after %s, want it a moment after the ten seconds", own)
			}
		})
	}
}

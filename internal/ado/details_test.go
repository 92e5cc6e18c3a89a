package ado_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

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
			if n := len(slices.DeleteFunc(slices.Clone(order), func(o string) bool { return o != "POST /timelines" })); n != 1 {
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

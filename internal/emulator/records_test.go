package emulator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// S9, §7.2: records merge field by field, null and "no date" mean unchanged,
// variables merge by name, changeId grows.
func TestS9RecordsMergeFieldByField(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	step := p.stepIDs()[0]
	first := p.step(step, "inProgress", "")
	first["startTime"], first["variables"] = "2026-08-22T09:11:07.4021930Z", map[string]any{"a": map[string]any{"value": "1"}}
	p.mustPatch(first)
	// Any case, numbers, null, and the date of §1.7 without a zone.
	p.mustPatch(map[string]any{
		"id": strings.ToUpper(step), "state": "Completed", "result": 1, "name": nil, "startTime": "0001-01-01T00:00:00", "issues": nil,
		"percentComplete": 100, "variables": map[string]any{"b": map[string]any{"value": "2", "isSecret": true}},
	})
	var out struct {
		ChangeID int
		Records  []struct {
			ID, Name, State, Result, StartTime string
			ChangeID, PercentComplete          int
			Variables                          map[string]struct {
				Value    string
				IsSecret bool
			}
		}
	}
	p.want(200, "GET", p.planURL+"/timelines/"+p.timeline+"?includeRecords=true", nil, bearer(p.jobToken)).into(t, &out)
	if len(out.Records) != 2 {
		t.Fatalf("records = %+v, want job and step", out.Records)
	}
	r := out.Records[1]
	if r.Name != "Step" || r.State != "completed" || r.Result != "succeededWithIssues" || r.StartTime != "2026-08-22T09:11:07.4021930Z" || r.PercentComplete != 100 {
		t.Errorf("merged record = %+v", r)
	}
	if len(r.Variables) != 2 || r.Variables["a"].Value != "1" || !r.Variables["b"].IsSecret {
		t.Errorf("merged variables = %+v", r.Variables)
	}
	if r.ChangeID <= out.Records[0].ChangeID || out.ChangeID != r.ChangeID {
		t.Errorf("changeId = %d of the timeline's %d, job's %d", r.ChangeID, out.ChangeID, out.Records[0].ChangeID)
	}
	var since struct{ Count int }
	p.want(200, "GET", p.recordsPath()+"?changeId=1", nil, bearer(p.jobToken)).into(t, &since)
	if since.Count != 1 {
		t.Errorf("records changed since 1 = %d, want the step", since.Count)
	}
}

// §1.7, §7.3, A4: the records body is the only one that is wrapped.
func TestOnlyTheRecordsBodyIsWrapped(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	own := bearer(p.jobToken)
	p.refused(400, "VssRequestContentException", "PATCH", p.recordsPath(), []any{p.jobRecord("inProgress", "")}, own)
	p.refused(400, "VssRequestContentException", "PATCH", p.recordsPath(), map[string]any{"value": []any{}}, own)
	p.refused(400, "VssRequestContentException", "PATCH", p.recordsPath(), map[string]any{"count": 2, "value": []any{p.jobRecord("inProgress", "")}}, own)
	p.refused(400, "VssRequestContentException", "POST", p.planURL+"/events", map[string]any{"count": 1, "value": []any{p.event("failed")}}, own)
	p.want(200, "PATCH", p.recordsPath(), "\xef\xbb\xbf"+`{"count":0,"value":[]}`, own) // §1.7: a byte order mark is stripped
}

// The orders of §7.1 to §7.11, each refused with the section that forbids it.
func TestWrongOrdersAreRefused(t *testing.T) {
	stamp := "2026-08-22T09:11:07.4021930Z line\n"
	for _, c := range []struct {
		name, section string
		do            func(*peer, string) answerOf
	}{
		{"a step before the job's record (§7.4)", "§7.4", func(p *peer, step string) answerOf {
			return p.patch(p.step(step, "inProgress", ""))
		}},
		{"a record without a parent (§7.4)", "§7.4", func(p *peer, step string) answerOf {
			return p.patch(p.jobRecord("inProgress", ""), map[string]any{"id": step, "type": "Task", "state": "pending"})
		}},
		{"a record with an unknown parent (§7.4)", "§7.4", func(p *peer, step string) answerOf {
			r := p.step(step, "pending", "")
			r["parentId"] = uuid.NewString()
			return p.patch(p.jobRecord("inProgress", ""), r)
		}},
		{"a completed record that goes on (§7.4)", "§7.4", func(p *peer, step string) answerOf {
			p.mustPatch(p.jobRecord("inProgress", ""), p.step(step, "completed", "failed"))
			return p.patch(p.step(step, "inProgress", ""))
		}},
		{"a completed record without a result (§7.4)", "§7.4", func(p *peer, step string) answerOf {
			return p.patch(p.jobRecord("inProgress", ""), p.step(step, "completed", ""))
		}},
		{"a log that does not exist (§7.6)", "§7.6", func(p *peer, step string) answerOf {
			r := p.step(step, "inProgress", "")
			r["log"] = map[string]any{"id": 4711}
			return p.patch(p.jobRecord("inProgress", ""), r)
		}},
		{"a log before its page (§7.6)", "§7.6", func(p *peer, step string) answerOf {
			a := p.want(200, "POST", p.planURL+"/logs", map[string]any{"path": `logs\` + step}, bearer(p.jobToken))
			var l map[string]any
			a.into(p.t, &l)
			r := p.step(step, "inProgress", "")
			r["log"] = map[string]any{"id": l["id"]}
			return p.patch(p.jobRecord("inProgress", ""), r)
		}},
		{"the feed of a step's record (§7.5)", "§7.5", func(p *peer, step string) answerOf {
			p.mustPatch(p.jobRecord("inProgress", ""), p.step(step, "inProgress", ""))
			return p.do("POST", p.recordsPath()+"/"+step+"/feed", map[string]any{"count": 1, "value": []string{"x"}, "stepId": step, "startLine": 1}, bearer(p.jobToken))
		}},
		{"completion before the job's record (§7.11)", "§7.11", func(p *peer, _ string) answerOf {
			p.mustPatch(p.jobRecord("inProgress", ""))
			return p.complete("succeeded")
		}},
		{"completion before a step (§7.11)", "§7.11", func(p *peer, step string) answerOf {
			p.mustPatch(p.jobRecord("inProgress", ""), p.step(step, "inProgress", ""))
			p.mustPatch(p.jobRecord("completed", "failed"))
			return p.complete("failed")
		}},
		{"completion before a page (§7.11)", "§7.11", func(p *peer, step string) answerOf {
			p.mustPatch(p.jobRecord("inProgress", ""), p.step(step, "inProgress", ""))
			p.want(200, "POST", p.planURL+"/logs", map[string]any{"path": `logs\` + step}, bearer(p.jobToken))
			p.mustPatch(p.step(step, "completed", "succeeded"), p.jobRecord("completed", "succeeded"))
			return p.complete("succeeded")
		}},
		{"completion before the log of lines that were fed (§7.11)", "§7.11", func(p *peer, step string) answerOf {
			p.mustPatch(p.jobRecord("inProgress", ""), p.step(step, "inProgress", ""))
			p.want(204, "POST", p.recordsPath()+"/"+p.job+"/feed", map[string]any{"count": 1, "value": []string{"x"}, "stepId": step, "startLine": 1}, bearer(p.jobToken))
			p.upload(step, stamp)
			p.mustPatch(p.step(step, "completed", "succeeded"), p.jobRecord("completed", "succeeded"))
			return p.complete("succeeded")
		}},
		{"completion with another result than the record (§7.11)", "§7.11", func(p *peer, step string) answerOf {
			p.mustPatch(p.jobRecord("inProgress", ""), p.step(step, "completed", "failed"), p.jobRecord("completed", "failed"))
			return p.complete("succeeded")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := emulatortest.New(t)
			p := online(t, srv, "a")
			srv.Queue(emulatortest.Script("true"))
			p.take()
			p.mustRenew()
			a := c.do(p, p.stepIDs()[0])
			if a.status != 409 || a.key() != emulator.OrderRefused || !strings.Contains(string(a.body), c.section) {
				t.Fatalf("answer = %d %s, want 409 %s naming %s", a.status, a.body, emulator.OrderRefused, c.section)
			}
			vs := srv.Violations()
			if len(vs) == 0 || !vs[len(vs)-1].Refused || vs[len(vs)-1].Section != c.section || vs[len(vs)-1].Job != p.job {
				t.Errorf("violations = %+v, want the last to be this one", vs)
			}
		})
	}
}

// §7.2: a record belongs to the job that made it, though jobs share a timeline.
func TestAJobCannotChangeTheRecordsOfAnother(t *testing.T) {
	srv := emulatortest.New(t)
	one, two := emulatortest.Script("true"), emulatortest.Script("true")
	two.Plan, two.Timeline = one.Plan, one.Timeline
	srv.Queue(one)
	srv.Queue(two)
	a, b := online(t, srv, "a"), online(t, srv, "b")
	a.running()
	b.running()
	r := a.patch(map[string]any{"id": b.job, "currentOperation": "mine"})
	if r.status != 403 || r.key() != "TaskOrchestrationPlanSecurityException" {
		t.Errorf("changing another job's record = %d %s, want 403", r.status, r.body)
	}
	// The end of one job leaves the other's alone (S12).
	a.mustPatch(a.jobRecord("completed", "failed"))
	if r := a.complete("failed"); r.status != 204 {
		t.Fatalf("completion = %d %s", r.status, r.body)
	}
	b.mustPatch(map[string]any{"id": b.job, "currentOperation": "still here"})
}

// S12: accepted once, then 404 for further plan calls of that job.
func TestS12AJobCompletesOnce(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.running()
	own, events := bearer(p.jobToken), p.planURL+"/events"
	change := func(name string, value any) map[string]any {
		e := p.event("succeeded")
		e[name] = value
		return e
	}
	p.mustPatch(p.jobRecord("completed", "succeeded"))
	p.refused(404, "TaskOrchestrationJobNotFoundException", "POST", events, change("jobId", uuid.NewString()), own)
	p.refused(404, "TaskOrchestrationJobNotFoundException", "POST", events, change("requestId", p.request+1), own)
	p.refused(400, "VssRequestContentException", "POST", events, change("name", "TaskCompleted"), own)
	p.refused(400, "VssRequestContentException", "POST", events, change("result", nil), own)
	if a := p.complete("succeeded"); a.status != 204 {
		t.Fatalf("completion = %d %s", a.status, a.body)
	}
	for _, c := range [][2]string{
		{"POST", events},
		{"PATCH", p.recordsPath()},
		{"POST", p.planURL + "/logs"},
		{"GET", p.planURL},
		{"GET", p.recordsPath()},
		{"GET", "/_apis/distributedtask/tasks/d9bafed4-0b18-4f58-968d-86655b4d2ce9/2.279.1"},
	} {
		p.refused(404, "TaskOrchestrationPlanNotFoundException", c[0], c[1], p.event("succeeded"), own)
	}
	if got := srv.FinishAttempts(id); got != 6 {
		t.Errorf("attempts to finish = %d, want 6", got)
	}
	p.want(200, "GET", p.recordsPath(), nil, p.pat()) // a person may still look
}

// §7.9: a worker that died leaves records open; its listener reports the failure
// and the server closes them. §7.1: so does a job canceled before it began.
func TestADeadWorkerIsReportedFailed(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.running()
	p.mustPatch(p.step(p.stepIDs()[0], "inProgress", ""))
	if a := p.complete("failed"); a.status != 204 {
		t.Fatalf("completion = %d %s", a.status, a.body)
	}
	var got []string
	for _, r := range srv.Records(id) {
		got = append(got, string(r.State)+" "+string(r.Result))
	}
	if diff := cmp.Diff([]string{"completed failed", "completed canceled"}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	early := srv.Queue(emulatortest.Script("true"))
	p.take()
	if a := p.complete("canceled"); a.status != 204 {
		t.Errorf("completion before the start = %d %s", a.status, a.body)
	}
	if st, _ := srv.Job(early); st.Result != job.Canceled {
		t.Errorf("result = %s, want canceled", st.Result)
	}
}

// §7.4: sub-timelines of task.logdetail.
func TestSubTimelines(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	own, sub := bearer(p.jobToken), uuid.NewString()
	p.want(200, "POST", p.planURL+"/timelines", map[string]any{"id": sub}, own)
	p.refused(409, "TimelineExistsException", "POST", p.planURL+"/timelines", map[string]any{"id": sub}, own)
	p.want(200, "PATCH", p.planURL+"/timelines/"+sub+"/records", map[string]any{"count": 1, "value": []any{map[string]any{"id": uuid.NewString(), "type": "build", "name": "part", "state": "inProgress"}}}, own)
	p.refused(404, "TimelineNotFoundException", "GET", p.planURL+"/timelines/"+uuid.NewString()+"/records", nil, own)
	var all struct{ Count int }
	p.want(200, "GET", p.planURL+"/timelines", nil, own).into(t, &all)
	if all.Count != 2 {
		t.Errorf("timelines = %d, want 2", all.Count)
	}
}

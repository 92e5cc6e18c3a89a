package emulator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// S8, §7.1: a renewal moves lockedUntil, which is always in the answer.
func TestS8ARenewalMovesTheLock(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration = 10 * time.Minute })
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.take()
	before := time.Now().Add(10 * time.Minute)
	var out struct {
		RequestID   int64
		JobID       string
		LockedUntil time.Time
	}
	p.renew().into(t, &out)
	if out.RequestID != p.request || out.JobID != string(id) || out.LockedUntil.Before(before) || out.LockedUntil.After(before.Add(time.Minute)) {
		t.Errorf("renewal = %+v, want a lock until about %s", out, before)
	}
	if st, _ := srv.Job(id); st.State != emulator.Running {
		t.Errorf("state after the first renewal = %s, want running", st.State)
	}
}

func TestS8WrongRenewalsAreRefused(t *testing.T) {
	srv := emulatortest.New(t)
	p, other := online(t, srv, "a"), online(t, srv, "b")
	srv.Queue(emulatortest.Script("true"), "Agent.Name -equals a")
	p.take()
	own, body := bearer(p.agentToken), map[string]any{"requestId": p.request}
	p.refused(409, emulator.OrderRefused, "PATCH", strings.Replace(p.renewPath(), uuid.Nil.String(), uuid.NewString(), 1), body, own)
	p.refused(409, emulator.OrderRefused, "PATCH", fmt.Sprintf("%s/jobrequests/%d", pool, p.request), body, own)
	p.refused(404, "TaskAgentJobNotFoundException", "PATCH", strings.Replace(p.renewPath(), fmt.Sprint(p.request), "77", 1), map[string]any{"requestId": 77}, own)
	p.refused(400, "VssRequestContentException", "PATCH", p.renewPath(), map[string]any{"requestId": p.request + 1}, own)
	p.refused(404, "TaskAgentJobNotFoundException", "PATCH", p.renewPath(), body, bearer(other.agentToken))
	// §7.10: a plan of version 9 is not finished by PATCH (A23).
	p.mustRenew()
	p.refused(409, emulator.OrderRefused, "PATCH", p.renewPath(), map[string]any{"requestId": p.request, "result": "succeeded", "finishTime": time.Now().UTC()}, own)
	p.mustPatch(p.jobRecord("inProgress", ""))
	p.mustPatch(p.jobRecord("completed", "succeeded"))
	if a := p.complete("succeeded"); a.status != 204 {
		t.Fatalf("completion = %d %s", a.status, a.body)
	}
	p.refused(404, "TaskAgentJobNotFoundException", "PATCH", p.renewPath(), body, own) // renew after finish
}

// §7.10 b): a plan below version 8 is finished by PATCH, and not by event (A23).
func TestAnOldPlanIsFinishedByItsRequest(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	m := emulatortest.Script("true")
	m.Plan.Version = 7
	id := srv.Queue(m)
	p.take()
	finish := map[string]any{"requestId": p.request, "finishTime": "2026-08-22T09:14:30.0000000Z", "result": "succeeded"}
	p.refused(409, emulator.OrderRefused, "PATCH", p.renewPath(), finish, bearer(p.agentToken)) // before the first renewal
	p.mustRenew()
	p.mustPatch(p.jobRecord("inProgress", ""))
	p.refused(409, emulator.OrderRefused, "POST", p.planURL+"/events", p.event("succeeded"), bearer(p.jobToken))
	p.want(200, "PATCH", p.renewPath(), finish, bearer(p.agentToken))
	if st, _ := srv.Job(id); st.State != emulator.Completed || st.Result != job.Succeeded {
		t.Errorf("status = %+v, want completed, succeeded", st)
	}
	if got := srv.FinishAttempts(id); got != 3 {
		t.Errorf("attempts to finish = %d, want 3", got)
	}
}

// S15: the first renewal is held back, and nothing of the job may run (§7.1).
func TestS15NothingRunsBeforeTheFirstRenewal(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration = time.Minute })
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	release := srv.HoldRenewals(id)
	p.take()
	renewed := make(chan int, 1)
	go func() { renewed <- p.renew().status }()
	if a := p.patch(p.jobRecord("inProgress", "")); a.status != 409 || a.key() != emulator.OrderRefused {
		t.Errorf("records before the first renewal = %d %s, want 409 %s", a.status, a.body, emulator.OrderRefused)
	}
	p.refused(409, emulator.OrderRefused, "POST", p.planURL+"/logs", map[string]any{"path": `logs\x`}, bearer(p.jobToken))
	select {
	case status := <-renewed:
		t.Fatalf("the held renewal was answered %d", status)
	case <-time.After(50 * time.Millisecond):
	}
	release()
	release()
	if status := <-renewed; status != 200 {
		t.Errorf("the released renewal = %d, want 200", status)
	}
	p.mustPatch(p.jobRecord("inProgress", ""))
}

// Acceptance: a job whose agent died is abandoned after its lock expired.
func TestAJobIsAbandonedAfterItsLockExpired(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration, c.LockGrace = time.Second, 500*time.Millisecond })
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("sleep 60"))
	began := time.Now()
	p.running()
	p.mustPatch(p.step(p.stepIDs()[0], "inProgress", ""))
	st := srv.AwaitState(id, emulator.Completed)
	if took := time.Since(began); st.Result != job.Abandoned || took < 1500*time.Millisecond {
		t.Errorf("result = %s after %s, want abandoned after the lock and its grace", st.Result, took)
	}
	for _, r := range srv.Records(id) {
		if r.State != job.Completed || r.Result != job.Abandoned {
			t.Errorf("record %q is %s, %s, want completed, abandoned", r.Name, r.State, r.Result)
		}
	}
	// §1.8: renew after the lock was lost.
	p.refused(403, "TaskAgentJobTokenExpiredException", "PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken))
	p.refused(403, "TaskOrchestrationPlanSecurityException", "POST", p.planURL+"/events", p.event("succeeded"), bearer(p.jobToken))
	next := srv.Queue(emulatortest.Script("true"))
	if st := srv.AwaitState(next, emulator.Assigned); st.Agent != "a" {
		t.Errorf("the next job went to %q, want the freed agent", st.Agent)
	}
}

// S8 and the observers the agent's own tests use.
func TestS8TheLockCanBeLostOnDemand(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("sleep 60"))
	started := make(chan job.ID, 1)
	srv.WhenStarted(id, func(id job.ID) { started <- id })
	srv.WhenStarted(id, srv.LoseLock)
	p.running()
	if got := <-started; got != id {
		t.Errorf("started = %s, want %s", got, id)
	}
	if a := p.renew(); a.key() != "TaskAgentJobTokenExpiredException" || a.status != 403 {
		t.Errorf("renewal = %d %s, want 403 TaskAgentJobTokenExpiredException", a.status, a.body)
	}
	if st, _ := srv.Job(id); st.Result != job.Abandoned {
		t.Errorf("result = %s, want abandoned", st.Result)
	}
	if got := srv.FinishAttempts(id); got != 0 {
		t.Errorf("attempts to finish = %d, want 0", got)
	}
}

// S16, §11: the three forms show the same records, and KEDA counts those without
// result and receiveTime.
func TestS16AutoscalersSeeWaitingJobs(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	srv.Queue(emulatortest.Script("true"), "java", "Agent.Version -gtVersion 2.144.0")
	srv.Queue(emulatortest.Script("true"))
	p.running()
	count := func(query string) (all, waiting int) {
		var out struct {
			Count int
			Value []map[string]any
		}
		p.want(200, "GET", pool+"/jobrequests"+query, nil, basic(srv.PAT.Reveal())).into(t, &out)
		for _, r := range out.Value {
			if r["result"] == nil && r["receiveTime"] == nil {
				waiting++
			}
			for _, name := range []string{"finishTime", "assignTime", "receiveTime", "lockedUntil"} {
				if v, ok := r[name]; ok && (v == nil || strings.HasPrefix(fmt.Sprint(v), "0001")) {
					t.Errorf("%s = %v, want it left out until it has a value (§11.2)", name, v)
				}
			}
		}
		return out.Count, waiting
	}
	for query, want := range map[string][2]int{"?$top=250": {3, 2}, "": {3, 2}, "?completedRequestCount=0": {3, 2}, "?%24top=1": {1, 0}} {
		if all, waiting := count(query); all != want[0] || waiting != want[1] {
			t.Errorf("jobrequests%s: %d, %d of them waiting, want %v", query, all, waiting, want)
		}
	}
	p.mustPatch(p.jobRecord("completed", "failed"))
	if a := p.complete("failed"); a.status != 204 {
		t.Fatalf("completion = %d %s", a.status, a.body)
	}
	for query, want := range map[string]int{"?$top=250": 3, "?completedRequestCount=0": 2} {
		if all, _ := count(query); all != want {
			t.Errorf("jobrequests%s = %d after one finished, want %d", query, all, want)
		}
	}
	var out struct {
		Value []struct {
			Demands       []string
			MatchedAgents []struct{ Name string }
		}
	}
	p.want(200, "GET", pool+"/jobrequests", nil, p.pat()).into(t, &out)
	for _, r := range out.Value {
		if matched := len(r.MatchedAgents); len(r.Demands) == 2 && matched != 0 {
			t.Errorf("a job that wants java matches %d agents, want none", matched)
		}
	}
}

// S14, §5.4: a cancellation is a message; a waiting job is canceled at once.
func TestS14AJobIsCanceledByAMessage(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.CancelTimeout = 90 * time.Second })
	waiting := srv.Queue(emulatortest.Script("true"), "nobody")
	if !srv.Cancel(waiting) || srv.Cancel(waiting) {
		t.Error("Cancel of a waiting job, twice, is not true, false")
	}
	if st, _ := srv.Job(waiting); st.State != emulator.Completed || st.Result != job.Canceled {
		t.Errorf("a canceled waiting job = %+v", st)
	}
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("sleep 60"))
	p.running()
	srv.Cancel(id)
	m := p.poll()
	if m == nil || m.MessageType != "JobCancellation" || m.Body != fmt.Sprintf(`{"jobId":"%s","timeout":"00:01:30"}`, id) {
		t.Fatalf("cancellation = %+v", m)
	}
	if a := p.deleteMessage(m.MessageID); a.status != 204 {
		t.Errorf("deleting the cancellation = %d %s", a.status, a.body)
	}
	p.mustPatch(p.jobRecord("completed", "canceled"))
	if a := p.complete("canceled"); a.status != 204 {
		t.Errorf("completion = %d %s", a.status, a.body)
	}
	var after []string
	for _, c := range srv.Calls(id) {
		after = append(after, c.Resource+" "+c.Note)
	}
	want := []string{"messages PipelineAgentJobRequest", "jobrequests renew", "records __default inProgress", "messages JobCancellation", "records __default completed canceled", "events JobCompleted canceled"}
	if got := strings.Join(after, "; "); got != strings.Join(want, "; ") {
		t.Errorf("calls = %s\nwant    %s", got, strings.Join(want, "; "))
	}
}

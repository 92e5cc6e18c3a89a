package emulator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// §8.14: the job timeout is enforced by the service, which sends JobCancellation.
func TestS14AJobThatRunsTooLongIsCanceled(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration = time.Minute })
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("sleep 60"))
	srv.SetTimeout(id, 50*time.Millisecond)
	p.running()
	m := p.poll()
	if m == nil || m.MessageType != "JobCancellation" || !strings.Contains(m.Body, string(id)) {
		t.Fatalf("message = %+v, want a cancellation", m)
	}
	p.last = m.MessageID
	p.mustPatch(p.jobRecord("completed", "canceled"))
	if a := p.complete("canceled"); a.status != 204 {
		t.Errorf("completion = %d %s", a.status, a.body)
	}
	const reason = "the job ran for longer than 50ms, its timeoutInMinutes"
	if st, _ := srv.Job(id); st.Reason != reason {
		t.Errorf("reason = %q, want %q", st.Reason, reason)
	}
	for _, r := range srv.Records(id) {
		if r.ID == id.Record() && (len(r.Issues) != 1 || r.Issues[0].Message != reason || r.ErrorCount != 1) {
			t.Errorf("issues of the job = %+v, want the reason", r.Issues)
		}
	}
}

// A job that was canceled before its agent started it is not given to another one.
func TestACanceledJobIsNotGivenBack(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 50 * time.Millisecond })
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	srv.Cancel(id)
	p.want(204, "DELETE", pool+"/sessions/"+p.session, nil, bearer(p.agentToken))
	if st, _ := srv.Job(id); st.State != emulator.Completed || st.Result != job.Canceled {
		t.Errorf("job = %+v, want completed, canceled", st)
	}
	p.open()
	p.want(204, "GET", p.pollPath(), nil, bearer(p.agentToken)) // nothing about a job that is over
}

// §5.6: an expired session is told so on the poll that is being held.
func TestS4SessionsExpireOnDemand(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	polled := make(chan answerOf, 1)
	go func() {
		a, err := p.try(t.Context(), "GET", p.pollPath(), nil, bearer(p.agentToken))
		if err != nil {
			t.Error(err)
		}
		polled <- a
	}()
	time.Sleep(50 * time.Millisecond) // let the poll be held
	srv.ExpireSessions()
	if a := <-polled; a.status != 403 || a.key() != "TaskAgentSessionExpiredException" {
		t.Errorf("poll = %d %s, want 403 TaskAgentSessionExpiredException", a.status, a.body)
	}
	p.open()
}

func TestRemovingAnAgentFreesTheJobItHadNotStarted(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.LockDuration = time.Second })
	p := online(t, srv, "a")
	untouched := srv.Queue(emulatortest.Script("true"))
	p.want(204, "DELETE", fmt.Sprintf("%s/agents/%d", pool, p.agentID), nil, p.pat())
	if st, _ := srv.Job(untouched); st.State != emulator.Queued {
		t.Errorf("state = %s, want queued", st.State)
	}
	b := online(t, srv, "b")
	b.running()
	b.want(204, "DELETE", fmt.Sprintf("%s/agents/%d", pool, b.agentID), nil, b.pat())
	if st := srv.AwaitState(untouched, emulator.Completed); st.Result != job.Abandoned {
		t.Errorf("result = %s, want abandoned once the lock expired", st.Result)
	}
}

// A18 and A21 are statements about agents: the service lets both pass.
func TestWhatTheServiceLetsPassIsNoted(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true", "true"))
	p.running()
	ids := p.stepIDs()
	p.mustPatch(p.step(ids[0], "inProgress", "")) // the second step has no record
	r := p.step(ids[0], "inProgress", "")
	var issues []map[string]string
	for range 11 {
		issues = append(issues, map[string]string{"type": "error", "message": "x"})
	}
	r["issues"] = issues
	p.mustPatch(r)
	st, err := srv.Job(id)
	if err != nil || len(st.Violations) != 2 || st.Violations[0].Refused || !strings.Contains(st.Violations[0].Section, "A18") || !strings.Contains(st.Violations[1].Section, "A21") {
		t.Errorf("violations = %+v, want A18 and A21, let pass", st.Violations)
	}
	if len(srv.Violations()) != 2 {
		t.Errorf("violations of all jobs = %+v", srv.Violations())
	}
}

func TestAnUnknownJobIsSaidToBeUnknown(t *testing.T) {
	srv := emulatortest.New(t)
	nobody := job.ID(uuid.NewString())
	if _, err := srv.Job(nobody); !errors.Is(err, emulator.ErrNoJob) {
		t.Errorf("Job = %v, want ErrNoJob", err)
	}
	if _, err := srv.Report(nobody); !errors.Is(err, emulator.ErrNoJob) {
		t.Errorf("Report = %v, want ErrNoJob", err)
	}
	if _, err := srv.Await(t.Context(), nobody, emulator.Running); !errors.Is(err, emulator.ErrNoJob) {
		t.Errorf("Await = %v, want ErrNoJob", err)
	}
	id := srv.Queue(emulatortest.Script("true"))
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, late)
	defer cancel()
	if _, err := srv.Await(ctx, id, emulator.Running); !errors.Is(err, late) || !strings.Contains(err.Error(), "queued") {
		t.Errorf("Await = %v, want the cause and the state it is in", err)
	}
}

func TestAMessageWithoutGUIDsIsRefused(t *testing.T) {
	srv := emulatortest.New(t)
	for name, change := range map[string]func(*job.Message){
		"job": func(m *job.Message) { m.JobID = "one" }, "plan": func(m *job.Message) { m.Plan.PlanID = "two" },
		"project": func(m *job.Message) { m.Plan.ScopeIdentifier = "three" },
	} {
		m := emulatortest.Script("true")
		change(m)
		if _, err := srv.Server.Queue(m, emulator.Requirements{}); err == nil {
			t.Errorf("a message with another %s id than a GUID was queued", name)
		}
	}
	if _, err := srv.Server.Queue(emulatortest.Script("true"), emulator.Requirements{Pool: "nowhere"}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("Queue = %v, want an error that names the pool", err)
	}
}

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// admin speaks with the emulator as its administrator.
func admin(t *testing.T, srv *emulatortest.Server) (*ado.Registration, ado.PoolID) {
	t.Helper()
	connections := ado.NewHTTP()
	t.Cleanup(connections.CloseIdleConnections)
	r, err := ado.NewRegistration(srv.URL, srv.PAT, ado.Options{HTTP: connections, Log: slog.New(slog.DiscardHandler), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := r.FindPool(t.Context(), srv.Pool)
	if err != nil {
		t.Fatal(err)
	}
	return r, pool.ID
}

// remove deletes the agent of a name on the server.
func remove(t *testing.T, srv *emulatortest.Server, name string) ado.AgentID {
	t.Helper()
	r, pool := admin(t, srv)
	found, err := r.FindAgent(t.Context(), pool, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteAgent(t.Context(), pool, found.ID); err != nil {
		t.Fatal(err)
	}
	return found.ID
}

// rename gives a pool another name on the server.
func rename(t *testing.T, srv *emulatortest.Server, pool ado.PoolID, name string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, fmt.Sprintf("%s/_apis/distributedtask/pools/%d", srv.URL, pool), strings.NewReader(fmt.Sprintf(`{"name":%q}`, name)))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("", srv.PAT.Reveal())
	req.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // the status says enough
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("renaming the pool: %s", answer.Status)
	}
}

// opened returns a Deps change that tells of the session.
func opened(ready chan<- bool) func(*agent.Deps) {
	return func(d *agent.Deps) { d.Health.Ready = func(open bool) { ready <- open } }
}

func TestADeletedAgentRegistersAgain(t *testing.T) {
	srv := emulatortest.New(t)
	ready := make(chan bool, 16)
	ids := make(chan ado.AgentID, 1)
	stop := started(t, newAgent(t, config(t, srv), func(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
		ids <- c.AgentID
		return records(succeed)(ctx, m, c)
	}, opened(ready)))
	<-ready
	deleted := remove(t, srv, "build-01")
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	if id := <-ids; id == deleted {
		t.Errorf("the job ran as agent %d, which was deleted", id)
	}
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents after the end = %v, want none", agents)
	}
}

// Protocol §10.2: a registration that was taken back ends the agent with 0.
func TestADeletedAgentEndsInGoodOrderWhenItMayNotRegisterAgain(t *testing.T) {
	srv := emulatortest.New(t)
	ready := make(chan bool, 16)
	c := config(t, srv)
	c.Reregister = false
	done := make(chan error, 1)
	a := newAgent(t, c, records(succeed), opened(ready))
	go func() { done <- a.Run(t.Context()) }()
	<-ready
	remove(t, srv, "build-01")
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(time.Minute):
		t.Error("the agent goes on without a registration")
	}
}

func TestAnAgentThatIsNotEphemeralStaysInThePool(t *testing.T) {
	srv := emulatortest.New(t)
	ready := make(chan bool, 16)
	c := config(t, srv)
	c.Ephemeral = false
	stop := started(t, newAgent(t, c, records(succeed), opened(ready)))
	<-ready
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if agents := srv.Agents(); len(agents) != 1 || agents["build-01"] {
		t.Errorf("agents after the end = %v, want build-01, offline", agents)
	}
}

func TestASessionConflictNamesTheOtherOwner(t *testing.T) {
	srv := emulatortest.New(t)
	ready := make(chan bool, 16)
	c := config(t, srv)
	started(t, newAgent(t, c, records(succeed), opened(ready)))
	<-ready
	c.StateDir = t.TempDir()
	second := newAgent(t, c, records(succeed))
	second.SetSessionConflict(200 * time.Millisecond)
	err := second.Run(t.Context())
	status, ok := errors.AsType[*ado.StatusError](err)
	if !ok || !errors.Is(err, ado.ErrSessionConflict) || status.Owner == "" || !hasHint(err, "AZP_AGENT_NAME") {
		t.Errorf("Run = %v, hints %q, want a conflict that names the other owner", err, hint.All(err))
	}
}

func TestEveryJobsResultIsTold(t *testing.T) {
	srv := emulatortest.New(t)
	var mu sync.Mutex
	results := map[job.ID]job.Result{}
	told := make(chan job.Result, 8)
	started(t, newAgent(t, config(t, srv), records(succeed), func(d *agent.Deps) {
		d.JobEnded = func(id job.ID, r job.Result) {
			mu.Lock()
			defer mu.Unlock()
			results[id] = r
			told <- r
		}
	}))
	good := srv.Queue(emulatortest.Script("true"))
	<-told
	bad := srv.Queue(emulatortest.Script("true"))
	srv.WhenStarted(bad, srv.LoseLock)
	<-told
	mu.Lock()
	defer mu.Unlock()
	if results[good] != job.Succeeded || results[bad] != job.Abandoned {
		t.Errorf("results = %v, want succeeded and abandoned", results)
	}
}

func TestAnAgentDrainsOnAnOrderAsOnASignal(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("sleep 60"))
	a := newAgent(t, config(t, srv), records(untilStopped))
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context()) }()
	srv.AwaitState(id, emulator.Running)
	a.Drain(agent.Order{Reason: "the machine is preempted", Within: time.Second})
	wantResult(t, srv, id, job.Canceled)
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents after the end = %v, want none", agents)
	}
}

// Protocol §3.4. The date of the first answers corrects the first assertion, so
// that none is refused.
func TestAWrongClockIsCorrectedByTheDateOfAnswers(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			srv := emulatortest.New(t)
			w := tapped(t, srv, nil)
			srv.Fail(emulator.Fault{Kind: emulator.FaultClockSkew, For: skew})
			started(t, newAgent(t, through(t, srv, w), records(lasting(300*time.Millisecond))))
			wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
			for _, e := range w.seen(of("POST", "token")) {
				if e.status != 200 {
					t.Errorf("an assertion was refused with %d", e.status)
				}
			}
		})
	}
}

func TestAPoolThatWasRenamedIsFoundAgain(t *testing.T) {
	srv := emulatortest.New(t)
	ready := make(chan bool, 16)
	c := config(t, srv)
	stop := started(t, newAgent(t, c, records(succeed), opened(ready)))
	<-ready
	_, pool := admin(t, srv)
	rename(t, srv, pool, "Renamed")
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded) // a running agent does not care
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	stop = started(t, newAgent(t, c, records(succeed)))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	c.StateDir = t.TempDir() // an agent that never knew it by another name
	if err := newAgent(t, c, records(succeed)).Run(t.Context()); !errors.Is(err, ado.ErrPoolNotFound) {
		t.Errorf("Run = %v, want that the pool does not exist", err)
	}
}

// The service refuses on purpose: the agent is still there, with our key.
func TestARevokedRegistrationEndsTheAgentInGoodOrder(t *testing.T) {
	srv := emulatortest.New(t)
	ready := make(chan bool, 16)
	a := newAgent(t, config(t, srv), records(succeed), opened(ready))
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context()) }()
	<-ready
	srv.Fail(emulator.Fault{
		Match: "GET /messages$", Kind: emulator.FaultStatus,
		Answer: emulator.FaultAnswer{Code: 403, TypeKey: string(ado.KeyAccessTokenExpired)},
	})
	srv.Queue(emulatortest.Script("true")) // ends the poll that is held
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(time.Minute):
		t.Error("the agent goes on without a registration")
	}
}

// Two agents of one name do not take it from each other forever: the first one's
// key gets it no token any more.
func TestANameThatAnotherProcessTookIsLeftToIt(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.TokenLifetime, c.PollHold = time.Second, 100*time.Millisecond })
	ready := make(chan bool, 16)
	c := config(t, srv)
	first := newAgent(t, c, records(succeed), opened(ready))
	done := make(chan error, 1)
	go func() { done <- first.Run(t.Context()) }()
	<-ready
	c.StateDir = t.TempDir()
	serves := make(chan bool, 16)
	second := newAgent(t, c, records(succeed), opened(serves))
	second.SetSessionConflict(20 * time.Second) // longer than the first one's session lives on
	started(t, second)
	select {
	case err := <-done:
		if err == nil || !hasHint(err, "AZP_AGENT_NAME") {
			t.Errorf("Run = %v, hints %q, want an error that advises another name", err, hint.All(err))
		}
	case <-time.After(20 * time.Second):
		t.Error("the first agent goes on")
	}
	<-serves
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
}

func TestRegisteringIsTriedAgainWhileTheServerHasTrouble(t *testing.T) {
	for failures, works := range map[int]bool{2: true, 3: false} {
		srv := emulatortest.New(t)
		srv.Fail(emulatortest.Status("GET /agents$", 500, failures))
		ctx, cancel := context.WithCancelCause(t.Context())
		a := newAgent(t, config(t, srv), records(succeed), func(d *agent.Deps) {
			d.Health.Ready = func(open bool) {
				if open {
					cancel(errors.New("enough"))
				}
			}
		})
		if err := a.Run(ctx); (err == nil) != works {
			t.Errorf("Run = %v after %d failures, want success: %t", err, failures, works)
		}
	}
	srv := emulatortest.New(t)
	hits := srv.Fail(emulatortest.Status("GET /agents$", 403, 0))
	if err := newAgent(t, config(t, srv), records(succeed)).Run(t.Context()); err == nil || srv.Hits(hits) != 1 {
		t.Errorf("Run = %v after %d attempts, want a refusal to be final", err, srv.Hits(hits))
	}
}

// An order to stop in the middle of registering must not leave an agent behind
// that nobody knows of.
func TestAnOrderWhileItRegistersLeavesNoAgentBehind(t *testing.T) {
	srv := emulatortest.New(t)
	srv.Fail(emulator.Fault{Match: "PUT /usercapabilities$", Kind: emulator.FaultDelay, For: 10 * time.Second})
	c := config(t, srv)
	c.Capabilities = []string{"camera"}
	a := newAgent(t, c, records(succeed))
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context()) }()
	for end := time.Now().Add(10 * time.Second); len(srv.Agents()) == 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	a.Drain(agent.Order{Reason: "SIGTERM"})
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents after the end = %v, want none", agents)
	}
}

// What happens to the session after the order to stop is no failure of an agent
// that was to go anyway.
func TestASessionThatIsLostWhileDrainingIsNoFailure(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 20 * time.Millisecond })
	id := srv.Queue(emulatortest.Script("true"))
	var ready []bool
	stop := started(t, newAgent(t, config(t, srv), records(lasting(700*time.Millisecond)), func(d *agent.Deps) {
		d.Health.Ready = func(open bool) { ready = append(ready, open) }
		d.Health.Draining = func() {
			srv.Fail(emulator.Fault{
				Match: "GET /messages$", Kind: emulator.FaultStatus, Count: 1,
				Answer: emulator.FaultAnswer{Code: 403, TypeKey: string(ado.KeyAccessDenied)},
			})
		}
	}))
	srv.AwaitState(id, emulator.Running)
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	wantResult(t, srv, id, job.Succeeded)
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents after the end = %v, want none", agents)
	}
	if len(ready) < 2 || ready[1] {
		t.Errorf("ready = %v, want false as soon as the session was lost", ready)
	}
}

// A second job waits for the first to end. An agent that is told to stop meanwhile
// leaves it to others: its message is still there.
func TestAJobThatWaitsBehindAnotherIsLeftToOthersByADrain(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("true"))
	w := tapped(t, srv, nil)
	stop := started(t, newAgent(t, through(t, srv, w), records(lasting(300*time.Millisecond))))
	srv.AwaitState(id, emulator.Running)
	if !srv.SendMessage("build-01", "PipelineAgentJobRequest", `{"jobId":"11111111-2222-3333-4444-555555555555","requestId":5,"plan":{"planId":"11111111-2222-3333-4444-555555555556","version":9},"timeline":{"id":"11111111-2222-3333-4444-555555555556"}}`) {
		t.Fatal("the emulator knows no such agent")
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if polls := w.seen(of(http.MethodGet, "messages")); len(polls) > 0 && polls[len(polls)-1].query.Get("lastMessageId") == "42" {
			break // the second message was received
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if deleted := w.seen(of(http.MethodDelete, "messages")); len(deleted) != 1 {
		t.Errorf("%d messages were deleted, want the first one's only", len(deleted))
	}
}

package agent_test

import (
	"context"
	"errors"
	"log/slog"
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
	case <-time.After(10 * time.Second):
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

package agent_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// Protocol §10.2: a registration that was taken back ends the agent with 0.
func TestARevokedRegistrationEndsTheAgentInGoodOrder(t *testing.T) {
	srv := emulatortest.New(t)
	connections := ado.NewHTTP()
	defer connections.CloseIdleConnections()
	admin, err := ado.NewRegistration(srv.URL, srv.PAT, ado.Options{HTTP: connections, Log: slog.New(slog.DiscardHandler), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan bool, 8)
	a := newAgent(t, config(t, srv), records(succeed), func(d *agent.Deps) { d.Health.Ready = func(open bool) { opened <- open } })
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context()) }()
	<-opened
	pool, err := admin.FindPool(t.Context(), srv.Pool)
	if err != nil {
		t.Fatal(err)
	}
	self, err := admin.FindAgent(t.Context(), pool.ID, "build-01")
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.DeleteAgent(t.Context(), pool.ID, self.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the agent goes on without a registration")
	}
}

func TestAnAgentOutlivesItsTokens(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.TokenLifetime = time.Second })
	started(t, newAgent(t, config(t, srv), records(lasting(1500*time.Millisecond))))
	for range 2 {
		wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	}
}

func TestASessionWithoutAKeyHasPlainMessages(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PlainMessages = true })
	started(t, newAgent(t, config(t, srv), records(succeed)))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
}

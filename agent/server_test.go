package agent_test

import (
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

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

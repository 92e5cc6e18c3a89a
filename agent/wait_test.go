package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

func TestAJobKnowsHowLongItWaited(t *testing.T) {
	for name, skew := range map[string]time.Duration{"the same clock": 0, "a server an hour ahead": time.Hour, "a server an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			srv := emulatortest.New(t)
			if skew != 0 {
				srv.Fail(emulator.Fault{Kind: emulator.FaultClockSkew, For: skew})
			}
			id, queued := srv.Queue(emulatortest.Script("true")), time.Now()
			waits := make(chan job.Wait, 1)
			started(t, newAgent(t, config(t, srv), records(func(_ context.Context, c agent.Conn) job.Result {
				waits <- c.Wait
				return job.Succeeded
			})))
			wantResult(t, srv, id, job.Succeeded)
			// A server's clock is known from the dates of its answers, which have whole seconds.
			const noise = 3 * time.Second
			wait := <-waits
			if off := wait.Queued.Sub(queued).Abs(); off > noise || wait.Assigned.Before(wait.Queued) || wait.Assigned.After(time.Now()) {
				t.Errorf("the job was queued at %s and assigned at %s, want about %s and later", wait.Queued, wait.Assigned, queued)
			}
		})
	}
}

package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// slowStack has one service that is up at once and one that never turns healthy
// within the test, a named volume and a network.
const slowStack = `services:
  quick:
    image: busybox
    command: ["sleep", "600"]
    volumes: ["data:/data"]
  slow:
    image: busybox
    command: ["sleep", "600"]
    healthcheck:
      test: ["CMD", "false"]
      interval: 1s
      retries: 600
volumes:
  data:
`

func TestAnAgentKilledInTheStackStepLeavesNothingAfterItsRestart(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{
		NoBuildkitd: true, NoRegistry: true,
		// Short enough to see the job abandoned, long enough to renew in time.
		EmulatorFlags: []string{"--lock", "10s", "--lock-grace", "1s", "--session-expiry", "3s", "--poll", "2s"},
	})
	file := writeFile(t, s.Dir, "slow.yml", slowStack)
	a := startAgent(t, s, stage.AgentOptions{Name: "doomed"})
	j := queue(t, s, fmt.Sprintf("steps:\n- checkout: none\n- script: dockless stack up -f %s\n  displayName: Start the stack\n", file), "", nil)
	eventually(t, "the stack's containers run", 2*time.Minute, func() bool {
		return strings.Count(strings.Join(owned(t, s, "doomed"), " "), "container") == 2
	})

	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if left := owned(t, s, "doomed"); len(left) == 0 {
		t.Fatal("nothing was left behind, so the test shows nothing")
	}
	startAgent(t, s, stage.AgentOptions{Name: "doomed"})
	eventually(t, "the leftovers are gone", time.Minute, func() bool { return len(owned(t, s, "doomed")) == 0 })

	st := await(t, s, j, "abandoned", func(st stage.Status) bool { return st.Completed() })
	if st.Result != job.Abandoned {
		t.Errorf("the job of the killed agent ended as %s, want abandoned", st.Result)
	}
	// The new agent works, and nothing of the dead job comes back meanwhile.
	next := queue(t, s, "steps:\n- checkout: none\n- bash: echo alive\n", "", nil)
	if r := finish(t, s, next); r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Errorf("the job after the restart ended as %s, want succeeded", r.Result)
	}
	if left := owned(t, s, "doomed"); len(left) != 0 {
		t.Errorf("left behind after the restart: %q", left)
	}
}

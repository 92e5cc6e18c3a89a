package integration_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// probed runs the exec probe against an agent's page, as the kubelet would.
func probed(t *testing.T, s testStage, agent, question string) (code int, line string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), rig.NeedBin(t, "dockless-probe"), question, "--file", filepath.Join(s.Dir, agent, "probe"))
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(string(out))
}

func TestTheProbeFollowsTheAgentThroughItsLife(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	a := startAgent(t, s, stage.AgentOptions{Name: "probed", Env: append(alone, "DOCKLESS_DRAIN_TIMEOUT=5m")})
	expect := func(when, question string, code int, words string) {
		t.Helper()
		var line string
		eventually(t, when+" the answer to "+question+" is right", time.Minute, func() bool {
			var got int
			got, line = probed(t, s, "probed", question)
			return got == code && strings.Contains(line, words)
		})
		t.Logf("%s, %s: %s", when, question, line)
	}
	expect("with a session", "ready", 0, "ready")
	started, end := filepath.Join(s.Dir, "started"), filepath.Join(s.Dir, "end")
	j := queue(t, s, fmt.Sprintf("steps:\n- checkout: none\n- bash: touch %s; until test -e %s; do sleep 0.2; done\n", started, end), "", nil)
	eventually(t, "the step runs", time.Minute, func() bool { return exists(started) })
	expect("in a job", "live", 0, "live")

	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("while it drains", "ready", 1, "draining")
	expect("while it drains", "live", 0, "live")
	writeFile(t, s.Dir, "end", "")
	await(t, s, j, "completed", stage.Status.Completed)
	if got := exitCode(t, a, time.Minute); got != 0 {
		t.Errorf("the agent's exit code = %d, want 0", got)
	}
	expect("after its end", "live", 1, "")

	b := startAgent(t, s, stage.AgentOptions{Name: "probed", Env: alone})
	expect("started again", "ready", 0, "ready")
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	expect("after kill -9", "live", 1, "")
}

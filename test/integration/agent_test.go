package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// bare is a stage for jobs that need neither images nor containers.
var bare = stage.Options{NoBuildkitd: true, NoPodman: true, NoRegistry: true}

// alone is the environment of an agent that has neither BuildKit nor Podman: it
// finds none on PATH either.
var alone = []string{"BUILDKIT_HOST", "CONTAINER_HOST", "DOCKLESS_PODMAN=no-podman-here", "PATH=/usr/bin:/bin"}

// busy is a pipeline whose only step says when it runs and then takes its time.
func busy(file string, seconds int) string {
	return fmt.Sprintf("steps:\n- checkout: none\n- bash: |\n    echo started > %s\n    sleep %d\n    echo slept\n  displayName: Take a while\n", file, seconds)
}

func TestSIGTERMLetsTheJobEndWithinTheBudget(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	a := startAgent(t, s, stage.AgentOptions{Env: append(alone, "DOCKLESS_DRAIN_TIMEOUT=60s")})
	started := filepath.Join(s.Dir, "started")
	j := queue(t, s, busy(started, 20), "", nil)
	eventually(t, "the step runs", time.Minute, func() bool { return exists(started) })

	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, want succeeded", r.Result)
	}
	if got := exitCode(t, a, time.Minute); got != 0 {
		t.Errorf("the agent's exit code = %d, want 0; its log ends with:\n%s", got, a.Tail())
	}
	if names := s.agentNames(t); len(names) != 0 {
		t.Errorf("agents in the pool after the end = %q, want none", names)
	}
}

func TestSIGTERMCancelsAJobThatOutlivesTheBudget(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	a := startAgent(t, s, stage.AgentOptions{Env: append(alone, "DOCKLESS_DRAIN_TIMEOUT=5s")})
	started := filepath.Join(s.Dir, "started")
	j := queue(t, s, busy(started, 20), "", nil)
	eventually(t, "the step runs", time.Minute, func() bool { return exists(started) })

	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.Canceled {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, want canceled", r.Result)
	}
	if rec := jobRecord(t, r); !strings.Contains(fmt.Sprint(rec.Issues), "told to stop") {
		t.Errorf("issues of the job's record = %v, want one that says the agent was told to stop", rec.Issues)
	}
	if got := exitCode(t, a, time.Minute); got != 0 {
		t.Errorf("the agent's exit code = %d, want 0; its log ends with:\n%s", got, a.Tail())
	}
	if names := s.agentNames(t); len(names) != 0 {
		t.Errorf("agents in the pool after the end = %q, want none", names)
	}
}

func TestAnAgentThatRunsOnceTakesOneJobAndUnregisters(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	j := queue(t, s, "steps:\n- checkout: none\n- bash: echo once\n", "", nil)
	a := startAgent(t, s, stage.AgentOptions{Args: []string{"--once"}, Env: alone})
	if r := finish(t, s, j); r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, want succeeded", r.Result)
	}
	if got := exitCode(t, a, time.Minute); got != 0 {
		t.Errorf("the agent's exit code = %d, want 0", got)
	}
	if names := s.agentNames(t); len(names) != 0 {
		t.Errorf("agents in the pool after the end = %q, want none", names)
	}
}

func TestSettingsThatCannotWorkAreRefusedWithAHint(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	dir := t.TempDir()
	malformed := writeFile(t, dir, "malformed.yml", "steps:\n- bash: [\n")
	unsupported := writeFile(t, dir, "unsupported.yml", "steps:\n- bash: echo\n  colour: red\n")
	unknownTask := writeFile(t, dir, "task.yml", "steps:\n- task: NoSuchTask@7\n")
	for name, c := range map[string]struct {
		args []string
		env  []string
		code int
		hint string
	}{
		"wrong PAT":           {[]string{"agent"}, append(alone, "AZP_TOKEN=wrong"), 2, "AZP_TOKEN"},
		"unknown pool":        {[]string{"agent"}, append(alone, "AZP_POOL=nowhere"), 2, "AZP_POOL"},
		"no PAT":              {[]string{"agent"}, append(alone, "AZP_TOKEN="), 2, "AZP_TOKEN"},
		"unreachable server":  {[]string{"agent"}, append(alone, "AZP_URL=http://127.0.0.1:9"), 1, "AZP_URL"},
		"unreachable builder": {[]string{"agent"}, append(alone, "BUILDKIT_HOST=unix:///nowhere/buildkitd.sock", "DOCKLESS_BUILDKIT_TIMEOUT=1s"), 1, "BUILDKIT_HOST"},
		"no Podman socket":    {[]string{"agent"}, append(alone, "CONTAINER_HOST=unix:///nowhere/podman.sock"), 1, "CONTAINER_HOST"},
		"malformed pipeline":  {[]string{"replay", malformed}, alone, 2, ""},
		"unsupported key":     {[]string{"replay", unsupported}, alone, 2, ""},
		"unknown task":        {[]string{"replay", unknownTask}, alone, 2, "task"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agent := "refused-" + strings.ReplaceAll(name, " ", "-")
			code, out := s.dockless(t, agent, c.env, c.args...)
			if code != c.code {
				t.Errorf("exit code = %d, want %d; output:\n%s", code, c.code, out)
			}
			errorLines, hints := 0, 0
			for line := range strings.Lines(out) {
				switch {
				case strings.HasPrefix(line, "error: "):
					errorLines++
				case strings.HasPrefix(line, "hint: "):
					hints++
				}
			}
			if errorLines != 1 || (c.hint != "" && !strings.Contains(out, c.hint)) || hints == 0 {
				t.Errorf("output has %d error lines and %d hints, want one and at least one, naming %s:\n%s", errorLines, hints, c.hint, out)
			}
			if names := s.agentNames(t); strings.Contains(strings.Join(names, " "), agent) {
				t.Errorf("the refused agent stays in the pool: %q", names)
			}
			left, err := filepath.Glob(filepath.Join(s.Dir, agent, "probe"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// testStage adds what only tests ask.
type testStage struct{ *stage.Stage }

// dockless runs one of our commands with the settings of an agent of this name.
func (s testStage) dockless(t *testing.T, name string, env []string, args ...string) (code int, output string) {
	t.Helper()
	binary, err := rig.Bin("dockless")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = stage.Environment(append(os.Environ(), append(s.AgentEnv(name), env...)...))
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// agentNames lists the agents of the pool, as an administrator's page would.
func (s testStage) agentNames(t *testing.T) []string {
	t.Helper()
	names, err := s.Agents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return names
}

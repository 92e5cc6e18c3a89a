package integration_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// commandTimeout bounds one of our commands in a test: the longest builds the
// example without any cache on two busy cores.
const commandTimeout = 10 * time.Minute

// finished is a command line that has ended.
type finished struct {
	code           int
	stdout, stderr string
}

// command prepares one of our commands with the settings of an agent of this
// name, as a user who types it beside the agent. It runs in dir, when that is
// not empty.
func (s testStage) command(t *testing.T, name, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(s.Dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), commandTimeout, errTooLong)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, rig.NeedBin(t, "dockless"), args...)
	cmd.Dir = dir
	cmd.Env = stage.Environment(append(os.Environ(), append(s.AgentEnv(name), env...)...))
	return cmd
}

// end runs or waits for a command and returns what it printed.
func end(t *testing.T, run func() error, cmd *exec.Cmd, stdout, stderr *bytes.Buffer) finished {
	t.Helper()
	if err := run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return finished{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// typed runs one of our commands to its end.
func (s testStage) typed(t *testing.T, name, dir string, env []string, args ...string) finished {
	t.Helper()
	cmd := s.command(t, name, dir, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return end(t, cmd.Run, cmd, &stdout, &stderr)
}

// interrupted runs one of our commands until at holds, sends it the signal, and
// waits for its end.
func (s testStage) interrupted(t *testing.T, sig syscall.Signal, what string, at func() bool, name, dir string, env []string, args ...string) finished {
	t.Helper()
	cmd := s.command(t, name, dir, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after a t.Fatal below
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	eventually(t, what, time.Minute, at)
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return end(t, cmd.Wait, cmd, &stdout, &stderr)
}

// want fails the test at once when the command ended differently.
func (f finished) want(t *testing.T, code int) finished {
	t.Helper()
	if f.code != code {
		t.Fatalf("exit code = %d, want %d\nstdout:\n%s\nstderr:\n%s", f.code, code, f.stdout, f.stderr)
	}
	return f
}

// wantError checks that stderr has one error line with all of these words, and
// a hint that names the setting; an empty setting is no hint.
func (f finished) wantError(t *testing.T, setting string, words ...string) {
	t.Helper()
	var problems, hints []string
	for line := range strings.Lines(f.stderr) {
		switch {
		case strings.HasPrefix(line, "error: "):
			problems = append(problems, line)
		case strings.HasPrefix(line, "hint: "):
			hints = append(hints, line)
		}
	}
	if len(problems) != 1 {
		t.Fatalf("stderr has %d error lines, want one:\n%s", len(problems), f.stderr)
	}
	for _, word := range words {
		if !strings.Contains(problems[0], word) {
			t.Errorf("the error does not name %q: %s", word, problems[0])
		}
	}
	if setting != "" && !strings.Contains(strings.Join(hints, ""), setting) {
		t.Errorf("no hint names %s:\n%s", setting, f.stderr)
	}
}

// containersOf lists the containers, networks and volumes with a label of a
// stack, whoever they belong to.
func containersOf(t *testing.T, s testStage) []string {
	t.Helper()
	var found []string
	for kind, args := range map[string][]string{
		"container": {"ps", "--all", "--format", "{{.Names}}"}, "network": {"network", "ls", "--format", "{{.Name}}"}, "volume": {"volume", "ls", "--format", "{{.Name}}"},
	} {
		for _, name := range listed(t, s, append(args, "--filter", "label=io.dockless.project")...) {
			found = append(found, kind+" "+name)
		}
	}
	return found
}

// runs reports whether a process with exactly these arguments is there.
func runs(args ...string) bool {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false
	}
	for _, file := range lines {
		if line, err := os.ReadFile(file); err == nil && string(line) == strings.Join(args, "\x00")+"\x00" {
			return true
		}
	}
	return false
}

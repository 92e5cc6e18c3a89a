package process_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/runner/internal/process"
)

// neighbor is a process that this test starts by itself.
type neighbor struct {
	cmd *exec.Cmd
}

func (n neighbor) Signal(s syscall.Signal) { _ = syscall.Kill(-n.cmd.Process.Pid, s) }

func (n neighbor) Wait() error {
	err := n.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return &process.ExitError{Code: exit.ExitCode()}
	}
	return err
}

func (n neighbor) Close() { n.Signal(syscall.SIGKILL) }

func runElsewhere(ctx context.Context, c process.Command) error {
	return process.RunElsewhere(ctx, c, func(stdout, stderr *os.File) (process.Elsewhere, error) {
		cmd := exec.Command(c.Path, c.Args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, stdout, stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return neighbor{cmd: cmd}, cmd.Start()
	})
}

func TestAProcessElsewhereRunsLikeOneHere(t *testing.T) {
	out := newBuffer("")
	err := runElsewhere(t.Context(), bash("echo a; echo b >&2; exit 3", out))
	if exit, ok := errors.AsType[*process.ExitError](err); !ok || exit.Code != 3 || out.String() != "a\nb\n" {
		t.Errorf("the process ended with %v and wrote %q, want code 3 and both streams", err, out.String())
	}
	refused := errors.New("refused")
	err = process.RunElsewhere(t.Context(), bash("", out), func(_, _ *os.File) (process.Elsewhere, error) { return nil, refused })
	if !errors.Is(err, refused) {
		t.Errorf("a process that was not started ended with %v", err)
	}
}

func TestALadderEndsAProcessElsewhere(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stop := errors.New("told to stop")
	out := newBuffer("ready")
	go func() { <-out.seen; cancel(stop) }()
	c := bash(`trap 'echo int' INT; trap 'echo term; exit 1' TERM; echo ready; while :; do sleep 600 >/dev/null 2>&1 & wait; done`, out)
	c.Ladder = func() process.Ladder {
		return process.Ladder{Interrupt: 100 * time.Millisecond, Terminate: time.Minute}
	}
	if err := runElsewhere(ctx, c); !errors.Is(err, stop) || out.String() != "ready\nint\nterm\n" {
		t.Errorf("the process ended with %v and wrote %q, want both signals", err, out.String())
	}
}

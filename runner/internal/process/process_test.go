package process_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/runner/internal/cgroup"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer takes output and tells when a text was seen.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
	want string
	seen chan struct{}
}

func newBuffer(want string) *buffer { return &buffer{want: want, seen: make(chan struct{})} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(p)
	if b.want != "" && strings.Contains(b.text.String(), b.want) {
		b.want = ""
		close(b.seen)
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func bash(script string, out *buffer) process.Command {
	return process.Command{Path: "bash", Args: []string{"-c", script}, Env: os.Environ(), Stdout: out}
}

func TestExitCodesAndSignalsAreReported(t *testing.T) {
	for script, want := range map[string]int{"exit 3": 3, "kill -9 $$": 137} {
		err := process.Run(t.Context(), bash(script, newBuffer("")))
		if exit, ok := errors.AsType[*process.ExitError](err); !ok || exit.Code != want {
			t.Errorf("running %q = %v, want exit code %d", script, err, want)
		}
	}
	out := newBuffer("")
	if err := process.Run(t.Context(), bash("echo a; echo b >&2; echo c", out)); err != nil || out.String() != "a\nb\nc\n" {
		t.Errorf("output %q, error %v, want both streams in order", out, err)
	}
	if err := process.Run(t.Context(), process.Command{Path: "/nonexistent/tool"}); err == nil {
		t.Error("a missing executable was run")
	}
}

// Whatever thread a process is started from, it is in its group from the first
// instant, and each group has its own processes only.
func TestAGroupAccountsItsProcesses(t *testing.T) {
	j := cgroup.Open(cgroup.Here(), t.Name(), strconv.Itoa(os.Getpid()))
	if j.Why() != nil {
		t.Logf("no groups can be made here, so this tests the fallback: %v", j.Why())
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			g := j.Step("step-" + strconv.Itoa(i))
			for range 2 {
				out := newBuffer("")
				command := bash("(cat /proc/self/cgroup); exit 3", out)
				command.Group = g
				err := process.Run(t.Context(), command)
				if exit, ok := errors.AsType[*process.ExitError](err); !ok || exit.Code != 3 || exit.Signaled {
					t.Errorf("Run = %v", err)
				}
				if in := strings.Contains(out.String(), "/step-"+strconv.Itoa(i)+"\n"); in != (j.Why() == nil) {
					t.Errorf("process of step %d in\n%s", i, out)
				}
			}
			if u := g.Close(); u.Memory == 0 || u.CPU == 0 || u.Kills != 0 {
				t.Errorf("usage of step %d = %+v", i, u)
			}
		})
	}
	all.Wait()
	if late, err := j.Close(t.Context()); err != nil || len(late) > 0 {
		t.Errorf("Close = %+v, %v", late, err)
	}
}

// The three ways a process answers to being told to end.
func TestALadderEndsTheProcess(t *testing.T) {
	// A busy machine may take its time, but never goes to a next rung unasked.
	const soon, never = 100 * time.Millisecond, time.Minute
	for name, c := range map[string]struct {
		script, want         string
		interrupt, terminate time.Duration
	}{
		"at the first signal":  {interrupt: never, terminate: never, script: `trap 'echo int; exit 1' INT; echo ready; while :; do sleep 600 >/dev/null 2>&1 & wait; done`, want: "ready\nint\n"},
		"at the second signal": {interrupt: soon, terminate: never, script: `trap 'echo int' INT; trap 'echo term; exit 1' TERM; echo ready; while :; do sleep 600 >/dev/null 2>&1 & wait; done`, want: "ready\nint\nterm\n"},
		"only when killed":     {interrupt: soon, terminate: soon, script: `trap '' INT TERM; echo ready; while :; do sleep 0.01; done`, want: "ready\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := newBuffer("ready")
			stop := errors.New("told to stop")
			var began time.Time
			go func() { <-out.seen; began = time.Now(); cancel(stop) }()
			command := bash(c.script, out)
			command.Ladder = func() process.Ladder {
				return process.Ladder{Interrupt: c.interrupt, Terminate: c.terminate}
			}
			err := process.Run(ctx, command)
			least := time.Duration(0)
			for _, rung := range []time.Duration{c.interrupt, c.terminate} {
				if rung != never {
					least += rung
				}
			}
			if took := time.Since(began); !errors.Is(err, stop) || took < least {
				t.Errorf("Run = %v after %v, want the cause after at least %v", err, took, least)
			}
			if got := out.String(); got != c.want {
				t.Errorf("output = %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheWholeGroupEndsWithACancelledProcess(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	out := newBuffer("ready")
	go func() { <-out.seen; cancel(errors.New("stop")) }()
	file := filepath.Join(t.TempDir(), "pid")
	// The grandchild ignores polite signals and holds no output.
	script := `(trap '' INT TERM; exec >/dev/null 2>&1; while :; do sleep 0.05; done) & echo $! > ` + file + `; echo ready; wait`
	_ = process.Run(ctx, bash(script, out))
	pid := strings.TrimSpace(readFile(t, file))
	for range 100 {
		state := readFile(t, "/proc/"+pid+"/stat")
		if state == "" || strings.Contains(state, ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("grandchild %s is still alive", pid)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	return string(data)
}

func TestOutputHeldByGrandchildrenIsAwaitedFiveSecondsAtMost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds")
	}
	out := newBuffer("")
	id := "vsts_" + t.Name()
	command := bash("echo main; (sleep 0.2; echo late; sleep 60) &", out)
	command.Env = append(command.Env, process.LookupVariable+"="+id)
	began := time.Now()
	if err := process.Run(t.Context(), command); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 4*time.Second || took > 40*time.Second {
		t.Errorf("Run took %v, want five seconds, and never the minute of what holds it", took)
	}
	if got, want := out.String(), "main\nlate\n"; got != want {
		t.Errorf("output = %q, want %q", got, want)
	}
	ended, err := process.KillLeftovers(t.Context(), id)
	if err != nil || len(ended) == 0 {
		t.Errorf("KillLeftovers = %v, %v, want the sleep", ended, err)
	}
	if again, err := process.KillLeftovers(t.Context(), id); err != nil || len(again) != 0 {
		t.Errorf("KillLeftovers again = %v, %v, want nothing", again, err)
	}
}

func TestLaddersShrinkInProportion(t *testing.T) {
	got := process.DefaultLadder.Within(time.Second)
	if want := (process.Ladder{Interrupt: 750 * time.Millisecond, Terminate: 250 * time.Millisecond}); got != want {
		t.Errorf("Within(1s) = %v, want %v", got, want)
	}
	if got := process.DefaultLadder.Within(0); got != process.DefaultLadder {
		t.Errorf("Within(0) = %v, want it unchanged", got)
	}
}

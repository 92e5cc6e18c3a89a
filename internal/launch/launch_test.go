package launch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/launch"
)

// TestMain makes the test's program the server, too.
func TestMain(m *testing.M) {
	if asked, err := launch.Main(os.Args, os.Environ()); asked {
		if err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// serve starts a server that ends with the test, with env on top, and returns its socket.
func serve(t *testing.T, env ...string) string {
	t.Helper()
	// Deeper than an address has room for.
	dir := filepath.Join(t.TempDir(), strings.Repeat("a/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], launch.Command, "s")
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := launch.AwaitReady(ctx, socket); err != nil {
		t.Fatal(err)
	}
	return socket
}

// started is a process with its output.
type started struct {
	*launch.Process
	out *os.File
}

func start(t *testing.T, socket string, p launch.Program) started {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }() // the process has its own
	process, err := launch.Start(t.Context(), socket, p, w, w)
	if err != nil {
		t.Fatalf("starting %s: %v", p.Path, err)
	}
	t.Cleanup(func() { process.Close(); _ = r.Close() })
	return started{process, r}
}

func sh(script string) launch.Program {
	return launch.Program{Path: "sh", Args: []string{"-c", script}}
}

func (s started) line(t *testing.T) string {
	t.Helper()
	buffer := make([]byte, 4096)
	n, err := s.out.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestAProcessRunsAsItsProgramSays(t *testing.T) {
	socket := serve(t, "IMAGE=debian", "HOME=/nowhere", "PATH=/usr/bin:/bin")
	large := strings.Repeat("x", 1<<20)
	dir := t.TempDir()
	p := start(t, socket, launch.Program{
		Path: "sh", Args: []string{"-c", `echo "$IMAGE $MINE $HOME $PATH $PWD"; cat; (for i in 1 2 3 4 5 6 7 8; do echo "${#L1} ${#L8}"; break; done); echo err >&2; exit 3`},
		Dir: dir, Prepend: []string{"/first"}, Home: "/home/of/steps",
		// Larger than a socket's buffer; each below what Linux takes for one.
		Env: []string{"MINE=own", "L1=" + large[:100<<10], "L2=" + large[:100<<10], "L3=" + large[:100<<10], "L8=" + large[:100<<10]},
	})
	out, err := io.ReadAll(p.out)
	if want := "debian own /home/of/steps /first:/usr/bin:/bin " + dir + "\n102400 102400\nerr\n"; err != nil || string(out) != want {
		t.Errorf("output = %q, %v, want %q", out, err, want)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 3 {
		t.Errorf("the process ended with %+v, %v, want code 3", exit, err)
	}
}

func TestWhatCannotBeStartedIsSaid(t *testing.T) {
	socket := serve(t)
	for name, c := range map[string]struct {
		program launch.Program
		want    string
	}{
		"no program":   {launch.Program{Path: "no-such-program"}, "looking for no-such-program: it is not on PATH in the container"},
		"no file":      {launch.Program{Path: "/no/such"}, "starting /no/such: no such file or directory"},
		"no directory": {launch.Program{Path: "true", Dir: "/no/dir"}, "the working directory /no/dir cannot be used in the container: no such file or directory"},
		"a file":       {launch.Program{Path: "true", Dir: "/etc/passwd"}, "the working directory /etc/passwd cannot be used in the container: it is no directory"},
	} {
		_, err := launch.Start(t.Context(), socket, c.program, os.Stderr, os.Stderr)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if errors.Is(err, launch.ErrNotFound) != (name == "no program") {
			t.Errorf("%s: %v is not the right kind of error", name, err)
		}
	}
}

func TestSignalsReachTheWholeGroup(t *testing.T) {
	p := start(t, serve(t), sh(`trap 'echo term; exit 5' TERM; sh -c 'trap "echo child; exit" TERM; echo ready; while :; do sleep 0.05; done' & while :; do sleep 0.05; done`))
	if got := p.line(t); got != "ready\n" {
		t.Fatalf("the process says %q", got)
	}
	p.Signal(syscall.SIGTERM)
	exit, err := p.Wait()
	if err != nil || exit.Code != 5 {
		t.Errorf("the process ended with %+v, %v, want code 5", exit, err)
	}
	out, err := io.ReadAll(p.out)
	if err != nil || !bytes.Contains(out, []byte("term\n")) || !bytes.Contains(out, []byte("child\n")) {
		t.Errorf("after SIGTERM: %q, %v", out, err)
	}
	p = start(t, serve(t), sh("kill -9 $$"))
	if exit, err := p.Wait(); err != nil || exit.Code != 137 || exit.OutOfMemory {
		t.Errorf("a killed process ended with %+v, %v, want code 137", exit, err)
	}
}

func TestAnEndedConnectionKillsAndAnEndedProcessDoesNot(t *testing.T) {
	socket := serve(t)
	p := start(t, socket, sh("sleep 60 & echo ready; wait"))
	p.line(t)
	p.Close()
	// Both hold the pipe open until they are gone.
	if _, err := io.ReadAll(p.out); err != nil {
		t.Error(err)
	}
	p = start(t, socket, sh("(sleep 0.3; echo later) & echo now"))
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Errorf("the process ended with %+v, %v", exit, err)
	}
	p.Close()
	if out, err := io.ReadAll(p.out); err != nil || string(out) != "now\nlater\n" {
		t.Errorf("what an ended process left behind said %q, %v", out, err)
	}
}

func TestAProbeTriesTheRightsOfTheUser(t *testing.T) {
	socket, dir := serve(t), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "outside", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := launch.Probe(t.Context(), socket, dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "inside", "file")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "outside")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was to be removed: %v", err)
	}
	if err := launch.Probe(t.Context(), socket, filepath.Join(dir, "no-such")); err == nil {
		t.Error("a probe of nothing succeeded")
	}
}

func TestACallerDoesNotWaitForAServerThatHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cause := errors.New("told to stop")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	if _, err := launch.Start(ctx, socket, sh("true"), os.Stderr, os.Stderr); !errors.Is(err, cause) {
		t.Errorf("Start = %v, want %v", err, cause)
	}
}

package integration_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// lowly is a place for an agent as a pod has it: its user is not root and can
// not become so, and its credential is mounted by somebody else.
type lowly struct {
	dir    string // of the agent's user
	mounts string // where credentials are mounted
	binary string
}

// lowlyUser is nobody's, on Debian and elsewhere.
const lowlyUser = 65534

func newLowly(t *testing.T) lowly {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a file system and needs root: make integration")
	}
	base, err := os.MkdirTemp("", "dockless-lowly-") //nolint:usetesting // another user cannot enter t.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	program, err := rig.Bin("dockless")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	l := lowly{dir: filepath.Join(base, "agent"), binary: filepath.Join(base, "dockless"), mounts: filepath.Join("/run", "dockless-"+uuid.NewString())}
	for _, err := range []error{
		os.Chmod(base, 0o755), os.Mkdir(l.dir, 0o755), os.Chown(l.dir, lowlyUser, lowlyUser),
		os.WriteFile(l.binary, content, 0o755), os.Mkdir(l.mounts, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(l.mounts); err != nil {
			t.Error(err)
		}
	})
	return l
}

// publish writes a file that the agent may read and returns its path.
func (l lowly) publish(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(l.dir), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// mount mounts a file as Kubernetes mounts a Secret or a projected token, and
// returns its path.
func (l lowly) mount(t *testing.T, name, content string) string {
	t.Helper()
	dir := filepath.Join(l.mounts, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatalf("mounting a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l.rotate(t, dir, "..2026_1", content)
	if err := os.Symlink("..data/token", filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "token")
}

// rotate replaces the content of a mount as the kubelet does.
func (l lowly) rotate(t *testing.T, dir, version, content string) {
	t.Helper()
	link := filepath.Join(dir, "..data_tmp")
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, version), 0o755), os.WriteFile(filepath.Join(dir, version, "token"), []byte(content), 0o444),
		os.Symlink(version, link), os.Rename(link, filepath.Join(dir, "..data")),
	} {
		if err != nil {
			t.Errorf("replacing the mounted file: %v", err)
		}
	}
}

// start starts an agent for srv that ends with the test. Its log is returned by
// the function.
func (l lowly) start(t *testing.T, srv *emulatortest.Server, mayGain bool, env ...string) (log func() string) {
	t.Helper()
	args := []string{"--reuid", "65534", "--regid", "65534", "--clear-groups"}
	if !mayGain {
		args = append(args, "--no-new-privs")
	}
	path := filepath.Join(filepath.Dir(l.dir), "agent.log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // the child has its own
	rig.KeepLog(t, "agent", path)
	// Ended below, in good order.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "setpriv", append(args, l.binary, "agent")...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, file, file
	cmd.Env = stage.Environment(append(append(os.Environ(), alone...), append([]string{
		"AZP_URL=" + srv.URL, "AZP_POOL=" + srv.Pool, "AZP_AGENT_NAME=lowly", "AZP_WORK=" + filepath.Join(l.dir, "work"), "HOME=" + l.dir,
		"TMPDIR=" + l.dir, "DOCKER_CONFIG=" + filepath.Join(l.dir, "docker"), "DOCKLESS_STATE_DIR=" + filepath.Join(l.dir, "state"),
		"DOCKLESS_PROBE_FILE=" + filepath.Join(l.dir, "probe"), "LOG_FORMAT=json", "LOG_LEVEL=debug",
	}, env...)...))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // one that has gone is waited for all the same
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the agent ended with %v; its log:\n%s", err, read(t, path))
		}
		if agents := srv.Agents(); len(agents) != 0 {
			t.Errorf("agents after the end = %v, want none", agents)
		}
	})
	return func() string { return read(t, path) }
}

// does queues a job of one script and returns the numbers it printed.
func does(t *testing.T, srv *emulatortest.Server, log func() string, script string) (numbers string, report job.Report, id job.ID) {
	t.Helper()
	id = srv.Queue(emulatortest.Bash(script))
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errTooLong)
	defer cancel()
	if _, err := srv.Await(ctx, id, emulator.Completed); err != nil {
		t.Fatalf("%v; the agent's log:\n%s", err, log())
	}
	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(counts(record(t, report, "Run bash").Log), " "), report, id
}

// needle defines the shell function needle that prints text. It is not in the
// script, nor on a command line, nor in an environment, where it would find itself.
func needle(text string) string {
	var b bytes.Buffer
	b.WriteString("set +e\nneedle() { printf %s")
	for part := range strings.SplitSeq(text, "") {
		b.WriteString(" '" + part + "'")
	}
	b.WriteString("; }\n")
	return b.String()
}

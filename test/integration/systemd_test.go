package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// unitFile is the unit of the agent.
const unitFile = "deploy/systemd/dockless-agent.service"

func readUnit(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, unitFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unitValue returns the value of a setting of the unit.
func unitValue(t *testing.T, unit, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `=(.*)$`).FindStringSubmatch(unit)
	if found == nil {
		t.Fatalf("%s has no %s", unitFile, name)
	}
	return found[1]
}

func TestSystemdUnderstandsTheUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("%v; apt-get install systemd", err)
	}
	unit := readUnit(t)
	file := writeFile(t, t.TempDir(), filepath.Base(unitFile), strings.ReplaceAll(unit, "/usr/local/bin/dockless", rig.NeedBin(t, "dockless")))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if stop, grace := unitValue(t, unit, "TimeoutStopSec"), unitValue(t, unit, "Environment=DOCKLESS_GRACE_PERIOD"); stop != grace {
		t.Errorf("TimeoutStopSec is %s and DOCKLESS_GRACE_PERIOD %s, want the same", stop, grace)
	}
	abort, err := time.ParseDuration(strings.Replace(unitValue(t, unit, "TimeoutAbortSec"), "min", "m", 1))
	if err != nil || abort > 2*time.Minute {
		t.Errorf("an agent that hangs while it is aborted is given %s (%v), want a minute or two", abort, err)
	}
	// systemd allows no device but those on its list once there is one, and these make it.
	if taken := regexp.MustCompile(`(?m)^(DeviceAllow=.*|DevicePolicy=.*|ProtectClock=yes|PrivateDevices=yes)$`).FindString(unit); taken != "" {
		t.Errorf("with %s the steps have no GPU", taken)
	}
}

// hearing is the socket on which systemd hears its services.
type hearing struct{ lines chan string }

// hear listens until the test ends.
func hear(t *testing.T, address string) hearing {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	h := hearing{make(chan string, 4096)} // more than an agent says in a test; closed by the reader
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		defer close(h.lines)
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(buffer[:n])) {
				h.lines <- strings.TrimSpace(line)
			}
		}
	}()
	return h
}

// until collects what is said until a line begins with last.
func (h hearing) until(t *testing.T, last string) []string {
	t.Helper()
	var said []string
	timeout := time.After(time.Minute)
	for {
		select {
		case line, open := <-h.lines:
			if !open {
				t.Fatalf("systemd heard %q and then nothing more", said)
			}
			if said = append(said, line); strings.HasPrefix(line, last) {
				return said
			}
		case <-timeout:
			t.Fatalf("systemd heard %q within a minute, want %q", said, last)
		}
	}
}

// The life of an agent as systemd hears it, and nothing of systemd reaches a step.
func TestTheAgentTellsSystemdHowItIs(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	for name, address := range map[string]string{
		"path": filepath.Join(t.TempDir(), "notify"), "abstract": fmt.Sprintf("@dockless-integration-%d", os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			systemd := hear(t, address)
			a := startAgent(t, s, stage.AgentOptions{Name: "unit-" + name, Env: append(slices.Clone(alone), "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=3000000")})
			starts := func(line string) bool { return strings.HasPrefix(line, "STATUS=not ready: slot poll is starting") }
			if before := systemd.until(t, "READY=1"); !slices.ContainsFunc(before, starts) || slices.Contains(before, "STOPPING=1") {
				t.Errorf("until it was ready the agent said %q, want that it starts", before)
			}
			systemd.until(t, "WATCHDOG=1")
			systemd.until(t, "STATUS=ready: 1 slot: poll ")
			j := queue(t, s, "steps:\n- checkout: none\n- bash: env | grep -E '^(NOTIFY_SOCKET|WATCHDOG_)' && exit 1 || true\n", "", nil)
			if r := finish(t, s, j); r.Result != job.Succeeded {
				dumpLog(t, r)
				t.Errorf("a step that must not see systemd's variables ended as %s", r.Result)
			}
			if err := a.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			systemd.until(t, "STOPPING=1")
			if got := exitCode(t, a, time.Minute); got != 0 {
				t.Errorf("the agent's exit code = %d, want 0", got)
			}
		})
	}
}

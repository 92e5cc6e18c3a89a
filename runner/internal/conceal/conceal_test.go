package conceal_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/conceal"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hiddenFile is one that everybody may read, below directories that only root
// writes to, on every machine.
const hiddenFile = "/etc/passwd"

// asAgent runs the calling test again as a process like an agent in a pod: not
// root, and without a way to become so. It reports whether this is that process.
func asAgent(t *testing.T) bool {
	t.Helper()
	if os.Getenv("DOCKLESS_TEST_AGENT") != "" {
		return true
	}
	dir, err := os.MkdirTemp("", "conceal-") //nolint:usetesting // another user cannot enter t.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// The test's own directory is closed to other users.
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []error{
		os.WriteFile(filepath.Join(dir, "agent"), program, 0o755),
		os.Mkdir(filepath.Join(dir, "tmp"), 0o777),
		os.Chmod(filepath.Join(dir, "tmp"), 0o777),
		os.Chmod(dir, 0o755),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	args := []string{"--no-new-privs"}
	if os.Geteuid() == 0 {
		args = append(args, "--reuid", "65534", "--regid", "65534", "--clear-groups")
	}
	child := exec.CommandContext(t.Context(), "setpriv", append(args, filepath.Join(dir, "agent"), "-test.run", "^"+t.Name()+"$", "-test.v")...)
	child.Dir = filepath.Join(dir, "tmp")
	child.Env = append(os.Environ(), "DOCKLESS_TEST_AGENT=1", "TMPDIR="+child.Dir, "HOME="+child.Dir)
	out, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("as an agent the test failed: %v\n%s", err, out)
	}
	return false
}

func veil(t *testing.T) *conceal.Veil {
	t.Helper()
	v, err := conceal.New([]string{hiddenFile})
	if err != nil {
		t.Fatalf("New = %v, hints %q", err, hint.All(err))
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// run runs a script as a step and returns its output.
func run(t *testing.T, v *conceal.Veil, script string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := process.Run(t.Context(), process.Command{Path: "bash", Args: []string{"-ec", script}, Dir: t.TempDir(), Env: os.Environ(), Stdout: &out, Veil: v})
	return out.String(), err
}

func TestAStepCannotReadWhatIsHidden(t *testing.T) {
	if !asAgent(t) {
		return
	}
	v := veil(t)
	for name, script := range map[string]string{
		"by its name":             `cat /etc/passwd`,
		"from its directory":      `cd /etc && cat passwd`,
		"through a link":          `ln -s /etc/passwd link && cat link`,
		"through a link above":    `ln -s /etc link && cat link/passwd`,
		"through its own process": `cat /proc/self/root/etc/passwd`,
		"through the agent":       `cat /proc/$PPID/root/etc/passwd`,
		"in a nested shell":       `bash -c 'sh -c "cat /etc/passwd"'`,
		"in a session of its own": `setsid -w cat /etc/passwd`,
		"by making a hard link":   `ln /etc/passwd copy && cat copy`,
		"in a mount of its own":   `unshare -rm sh -c 'mkdir m && mount --bind /etc m && cat m/passwd'`,
		"through its descriptor":  `exec 3</etc/passwd && cat <&3`,
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := run(t, v, script); err == nil || strings.Contains(out, "root:") {
				t.Errorf("%s: error %v, output:\n%s\nwant a failure", script, err, out)
			}
		})
	}
	if out, err := run(t, nil, `cat /etc/passwd`); err != nil || !strings.Contains(out, "root:") {
		t.Errorf("without a veil: %v\n%s\nwant the file", err, out)
	}
}

func TestAStepDoesEverythingElse(t *testing.T) {
	if !asAgent(t) {
		return
	}
	v := veil(t)
	for name, script := range map[string]string{
		"reads beside the hidden file": `cat /etc/hostname >/dev/null || cat /etc/os-release >/dev/null; ls /etc/passwd`,
		"writes and reads":             `echo text >file && test "$(cat file)" = text && rm file`,
		"moves and links between directories": `mkdir -p a b && echo 1 >a/x && mv a/x b/y && ln b/y a/z && test "$(cat a/z)" = 1
			python3 -c 'import os; os.rename("a/z", "b/z")' 2>/dev/null || mv a/z b/z; cat b/z`,
		"runs what it made":      "printf '#!/bin/sh\\necho made\\n' >tool && chmod +x tool && test \"$(./tool)\" = made",
		"copies and runs tools":  `cp "$(type -P true)" compiler && ./compiler`,
		"pipes and substitutes":  `test "$(cat <(echo a) <<<b | tr a-z A-Z)" = A && test "$(cat <<<c)" = c && seq 1000 | wc -l >/dev/null`,
		"uses devices and /proc": `head -c 8 /dev/urandom >/dev/null && cat /proc/self/status >/dev/null && echo x >/dev/stderr`,
		"uses git": `git init -q repo && cd repo && echo 1 >f && git add f &&
			git -c user.name=a -c user.email=a@example.com commit -qm one && git clone -q . ../copy && git -C ../copy log --oneline`,
		"starts jobs in the background": `sleep 0.05 & bash -c 'kill -0 '$!; wait`,
		"nests shells":                  `bash -c 'sh -c "echo nested"' | grep -q nested`,
	} {
		t.Run(name, func(t *testing.T) {
			if out, err := run(t, v, script); err != nil {
				t.Errorf("%s: %v\n%s", script, err, out)
			}
		})
	}
}

// Steps look into what earlier ones left running, with lsof and the like.
func TestTheProcessesOfAJobMayLookIntoEachOtherOnly(t *testing.T) {
	if !asAgent(t) {
		return
	}
	v := veil(t)
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	if out, err := run(t, v, `sleep 60 >/dev/null 2>&1 & echo $! >`+pid); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run(t, v, `p=$(cat `+pid+`); grep -a -q PATH= /proc/$p/environ && readlink /proc/$p/exe && kill $p`); err != nil {
		t.Errorf("a later step cannot look into a process of an earlier one: %v\n%s", err, out)
	}
	for range 20 { // whatever thread the veil is on
		v := veil(t)
		for _, file := range []string{"environ", "exe", "root/etc/hostname"} {
			if out, err := run(t, v, `cat /proc/$PPID/`+file+` | wc -c; exit ${PIPESTATUS[0]}`); err == nil {
				t.Errorf("a step reads %s of the agent: %s bytes", file, out)
			}
		}
	}
}

// The agent goes on reading its credentials: no thread of its own is restricted.
func TestTheAgentItselfReadsOn(t *testing.T) {
	if !asAgent(t) {
		return
	}
	v := veil(t)
	for range 20 {
		if _, err := run(t, v, "true"); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	var together sync.WaitGroup
	const threads = 50
	together.Add(threads)
	for range threads {
		group.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			together.Done()
			together.Wait() // every one has a thread of its own
			if _, err := os.ReadFile(hiddenFile); err != nil {
				t.Errorf("a thread of the agent: %v", err)
			}
		})
	}
	group.Wait()
}

func TestWhatTheAgentOpensForAJobIsWhatTheJobMayRead(t *testing.T) {
	if !asAgent(t) {
		return
	}
	v := veil(t)
	dir := t.TempDir()
	link, plain := filepath.Join(dir, "link"), filepath.Join(dir, "plain")
	if err := errors.Join(os.Symlink(hiddenFile, link), os.WriteFile(plain, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{hiddenFile, link} {
		f, err := v.Open(path)
		if !errors.Is(err, fs.ErrPermission) || len(hint.All(err)) != 1 {
			t.Errorf("Open(%s) = %v, %v, want a refusal with a hint", path, f, err)
		}
	}
	f, err := v.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhyNothingCanBeHiddenIsSaidWithARemedy(t *testing.T) {
	if os.Getenv("DOCKLESS_TEST_AGENT") == "" {
		set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if set == 0 {
			wantImpossible(t, hiddenFile, "allowPrivilegeEscalation: false")
		}
	}
	if !asAgent(t) {
		return
	}
	own := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantImpossible(t, own, "read-only below a directory")
	if err := conceal.Check([]string{"/etc/no-such-file"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Check of a missing file = %v, want that it does not exist", err)
	}
	if err := conceal.Check(nil); err != nil {
		t.Errorf("Check of nothing = %v, want nil", err)
	}
}

func wantImpossible(t *testing.T, file, advice string) {
	t.Helper()
	err := conceal.Check([]string{file})
	if !errors.Is(err, conceal.ErrImpossible) || !strings.Contains(strings.Join(hint.All(err), " "), advice) {
		t.Errorf("Check(%s) = %v, hints %q, want one with %q", file, err, hint.All(err), advice)
	}
}

package settings

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// hiddenValue is the secret of the re-executed test. It is spelt in pieces, so
// that no other copy of it is in a process's memory by accident.
const hiddenValue = "hunter2-hunter2"

// TestASecretLeavesTheEnvironmentOfTheProcess runs this test again as a child
// that hides a secret: the kernel keeps the first environment of a process, so
// it cannot be set here.
func TestASecretLeavesTheEnvironmentOfTheProcess(t *testing.T) {
	if os.Getenv("DOCKLESS_TEST_HIDES") != "" {
		hideAndLook(t)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), "DOCKLESS_TEST_HIDES=1", "AZP_TOKEN="+hiddenValue, "AZP_TOKEN_FILE=", "AZP_TOKENS=stays", "EMPTY=")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("the child found a secret: %v\n%s", err, out)
	}
}

func hideAndLook(t *testing.T) {
	before := procEnviron(t)
	if !bytes.Contains(before, []byte("AZP_TOKEN="+hiddenValue)) {
		t.Fatal("the secret was not in /proc/self/environ to begin with")
	}
	if err := Hide([]string{"AZP_TOKEN", "AZP_TOKEN_FILE", "EMPTY", "NOT_SET"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile("/proc/self/environ"); errors.Is(err, fs.ErrPermission) {
		t.Log("not even this process may read /proc/self/environ any more: it does not run as root")
		return
	}
	after := procEnviron(t)
	if bytes.Contains(after, []byte(hiddenValue)) {
		t.Errorf("/proc/self/environ still holds the secret")
	}
	if want := bytes.ReplaceAll(before, []byte(hiddenValue), bytes.Repeat([]byte("*"), len(hiddenValue))); !bytes.Equal(after, want) {
		t.Errorf("/proc/self/environ changed in other places:\n%q, want\n%q", after, want)
	}
	if value, ok := os.LookupEnv("AZP_TOKEN"); ok {
		t.Errorf("AZP_TOKEN = %q, want it unset", value)
	}
	out, err := exec.CommandContext(t.Context(), "env").Output()
	if err != nil {
		t.Fatal(err)
	}
	if env := string(out); strings.Contains(env, hiddenValue) || !strings.Contains(env, "AZP_TOKENS=stays") {
		t.Errorf("a child's environment holds the secret, or lost another variable:\n%s", env)
	}
}

func procEnviron(t *testing.T) []byte {
	t.Helper()
	block, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		t.Fatal(err)
	}
	return block
}

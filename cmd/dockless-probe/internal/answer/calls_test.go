//go:build linux && (amd64 || arm64)

package answer

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/probe"
)

// TestTheProbeMapsThePageAndReadsProc looks at every call to the kernel: there is no
// input and output besides the page, which is mapped, and four small files of /proc.
func TestTheProbeMapsThePageAndReadsProc(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace to see the probe's calls with: apt-get install strace")
	}
	dir := t.TempDir()
	page, trace := filepath.Join(dir, "page"), filepath.Join(dir, "trace")
	w, err := probe.Create(page)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // the directory goes away
	for _, name := range []string{"poll", "lock", "builder", "podman"} {
		if _, err := w.Slot(name, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), strace, "-f", "-o", trace, command(t), "live", "--file", page).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "ptrace") || strings.Contains(string(out), "PTRACE") {
			t.Skipf("processes cannot be traced here: %s", out)
		}
		t.Fatalf("strace: %v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile(`^(` + regexp.QuoteMeta(page) + `|/proc/self/cmdline|/proc/sys/kernel/random/boot_id|/proc/self/ns/pid|/proc/\d+/stat)$`)
	allowed := []string{"execve", "openat", "read", "close", "fstat", "mmap", "munmap", "readlinkat", "clock_gettime", "write", "exit_group"}
	calls := regexp.MustCompile(`(?m)^(?:\d+ +)?([a-z0-9_]+)\(`).FindAllStringSubmatch(string(text), -1)
	for _, call := range calls {
		if !slices.Contains(allowed, call[1]) {
			t.Errorf("the probe calls %s:\n%s", call[1], text)
		}
	}
	opened := regexp.MustCompile(`(?:openat|readlinkat)\(AT_FDCWD, "([^"]+)"`).FindAllStringSubmatch(string(text), -1)
	for _, file := range opened {
		if !files.MatchString(file[1]) {
			t.Errorf("the probe opens %s", file[1])
		}
	}
	// One line of /proc for four slots of one process.
	if len(calls) < 10 || len(calls) > 30 || len(opened) != 5 {
		t.Errorf("the probe makes %d calls and opens %d files:\n%s", len(calls), len(opened), text)
	}
}

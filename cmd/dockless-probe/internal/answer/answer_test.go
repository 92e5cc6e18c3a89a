//go:build linux && (amd64 || arm64)

package answer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/probe"
)

// lateVariable makes this test binary the command as it is without the early
// start: the same function, called from a main.
const lateVariable = "DOCKLESS_PROBE_TEST_LATE"

func TestMain(m *testing.M) {
	if os.Getenv(lateVariable) != "" {
		os.Exit(Run())
	}
	code := m.Run()
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// command returns the built command.
func command(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "dockless-probe")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "dockless-probe")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "github.com/dockless-ci/dockless/cmd/dockless-probe")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)), os.RemoveAll(dir))
	}
	return path, nil
})

// ask runs the command, early and late, and returns the exit code and the output.
func ask(t *testing.T, late bool, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command(t), args...)
	if late {
		cmd = exec.CommandContext(t.Context(), os.Args[0], args...)
		cmd.Env = append(os.Environ(), lateVariable+"=1", "GORACE=atexit_sleep_ms=0")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Fatalf("running dockless-probe %q: %v", args, err)
	}
	if stderr.Len() > 0 {
		t.Errorf("dockless-probe %q wrote to stderr: %s", args, &stderr)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestTheCommandAnswersWithOneLineAndAnExitCode(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page")
	w, err := probe.Create(page)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // the directory goes away
	for name, state := range map[string]probe.State{"poll": probe.Ready, "job": probe.Draining, "old": probe.Stopped} {
		s, err := w.Slot(name, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		s.Set(state, probe.ReasonTold)
	}
	none := filepath.Join(dir, "none")
	asked := regexp.QuoteMeta("; " + usage)
	tests := []struct {
		name string
		args []string
		code int
		line string // a regular expression for the whole line
	}{
		{"live", []string{"live", "--file", page}, 0, `live: 2 slots: (poll|job) [\d.]+m?s, (poll|job) [\d.]+m?s`},
		{"draining is not ready", []string{"ready", "--file", page}, 1, `not ready: slot job is draining \(told to\); poll [\d.]+m?s`},
		{"one slot", []string{"ready", "--file", page, "--slot", "poll"}, 0, `ready: 1 slot: poll [\d.]+m?s`},
		{"equals signs", []string{"ready", "--file=" + page, "--slot=poll", "--max-age=1h30m"}, 0, `ready: 1 slot: poll [\d.]+m?s`},
		{"one dash", []string{"live", "-file", page, "-slot", "poll", "-max-age", "10s"}, 0, `live: 1 slot: poll [\d.]+m?s`},
		{"a stopped slot", []string{"live", "--file", page, "--slot", "old"}, 1, `not live: slot old is stopped`},
		{"one process", []string{"live", "--file", page, "--process", fmt.Sprint(os.Getpid())}, 0, `live: 2 slots: (poll|job) [\d.]+m?s, (poll|job) [\d.]+m?s`},
		{"another process", []string{"live", "--file", page, "--process=4194303"}, 1, `not live: process 4194303 has no slot`},
		{"an unknown slot", []string{"live", "--file", page, "--slot", "a\nb"}, 1, `not live: no slot a\?b`},
		{"no page", []string{"live", "--file", none}, 1, "not live: no page at " + none},
		{"no page, ready", []string{"ready", "--file", none}, 1, "not ready: no page at " + none},
		{"a file that is no page", []string{"live", "--file", "/proc/self/status"}, 1, "not live: not a probe page: /proc/self/status"},
		{"a long path", []string{"live", "--file", strings.Repeat("/long", 300)}, 1, "not live: the path is too long: /long.*"},
		{"nothing", nil, 2, "nothing was asked" + asked},
		{"something else", []string{"alive"}, 2, "the question is neither live nor ready" + asked},
		{"a flag first", []string{"--file", page, "live"}, 2, "the question is neither live nor ready" + asked},
		{"a flag without value", []string{"live", "--file"}, 2, "the last flag has no value" + asked},
		{"an empty value", []string{"live", "--file", ""}, 2, "a flag has an empty value" + asked},
		{"an empty attached value", []string{"live", "--slot="}, 2, "a flag has an empty value" + asked},
		{"an unknown flag", []string{"live", "--fast"}, 2, "there is an argument that is no flag of this command" + asked},
		{"a second question", []string{"live", "ready"}, 2, "there is an argument that is no flag of this command" + asked},
		{"a bad age", []string{"live", "--max-age", "soon"}, 2, "--max-age is not a duration above zero such as 30s or 1m30s" + asked},
		{"no process", []string{"live", "--process", "0"}, 2, "--process is not the id of a process" + asked},
		{"no possible process", []string{"live", "--process", "4194304"}, 2, "--process is not the id of a process" + asked},
		{"a process by name", []string{"live", "--process", "-1"}, 2, "--process is not the id of a process" + asked},
		{"no age", []string{"live", "--max-age", "0s"}, 2, "--max-age is not a duration above zero such as 30s or 1m30s" + asked},
		{"too many arguments", []string{"live", strings.Repeat("x", 5000)}, 2, "the arguments are too long"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				code, line := ask(t, late, test.args...)
				if !regexp.MustCompile(`\A(`+test.line+`)\n\z`).MatchString(line) || code != test.code {
					t.Errorf("late %v: exit code %d, line %q, want %d, %q", late, code, line, test.code, test.line)
				}
			}
		})
	}
}

func TestADeadWriterIsNotLive(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page")
	w, err := probe.Create(page)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Slot("poll", time.Minute); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	left[128+3]++ // the start time of the slot: another process with this one's id
	if err := os.WriteFile(page, left, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, line := ask(t, false, "live", "--file", page); code != 1 || !strings.HasSuffix(line, " is gone\n") {
		t.Errorf("exit code %d, line %q, want 1 and that the process is gone", code, line)
	}
}

func TestAClosedOutputDoesNotChangeTheExitCode(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close() //nolint:errcheck // nothing was written
	cmd := exec.CommandContext(t.Context(), command(t), "live", "--file", "/none")
	cmd.Stdout = full
	if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit code %d, want 1", cmd.ProcessState.ExitCode())
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	line := []byte("dockless-probe\x00ready\x00--file\x00/none\x00--slot\x00a\x00--max-age\x001m30s\x00")
	if n := testing.AllocsPerRun(100, func() {
		if _, complaint := parse(line); complaint != "" {
			t.Error(complaint)
		}
	}); n != 0 {
		t.Errorf("parse allocates %v times, want 0", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("p\x00live\x00"))
	f.Add([]byte("p\x00ready\x00--file\x00f\x00--slot=s\x00--max-age\x001h2m3s4ms5us6ns\x00"))
	f.Add([]byte("p\x00live\x00--max-age\x00999999999999999999999h\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, complaint := parse(line)
		if complaint != "" {
			return
		}
		if r.file == "" || r.query.MaxAge < 0 {
			t.Errorf("parse(%q) = %+v without a complaint", line, r)
		}
		for argument := range bytes.SplitSeq(line, []byte{0}) {
			text := strings.TrimPrefix(string(argument), "--max-age=")
			if age, ok := duration(text); ok {
				if want, err := time.ParseDuration(text); err != nil || age != want {
					t.Errorf("duration(%q) = %v, time.ParseDuration says %v, %v", text, age, want, err)
				}
			}
		}
	})
}

// BenchmarkProbeAgainstCat runs both by turns and reports the medians of the
// time from before fork to after wait, and their ratio.
func BenchmarkProbeAgainstCat(b *testing.B) {
	page := filepath.Join(b.TempDir(), "page")
	w, err := probe.Create(page)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // the directory goes away
	if _, err := w.Slot("poll", time.Hour); err != nil {
		b.Fatal(err)
	}
	ours, cat := command(b), []time.Duration(nil)
	var mine []time.Duration
	measure := func(name string, args ...string) time.Duration {
		cmd := exec.CommandContext(b.Context(), name, args...)
		start := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatalf("%s %q: %v", name, args, err)
		}
		return time.Since(start)
	}
	for b.Loop() {
		mine = append(mine, measure(ours, "live", "--file", page))
		cat = append(cat, measure("cat", page))
	}
	median := func(times []time.Duration) float64 {
		slices.Sort(times)
		return float64(times[len(times)/2])
	}
	b.ReportMetric(median(mine)/1e3, "probe-µs")
	b.ReportMetric(median(cat)/1e3, "cat-µs")
	b.ReportMetric(median(mine)/median(cat), "ratio")
}

//go:build linux && (amd64 || arm64)

package probe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
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

// program is testdata/probe.c, which uses dockless_probe.h, made once.
func program(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Fatal("there is no C compiler to test dockless_probe.h with: apt-get install gcc libc6-dev")
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "probe")
	programDir = dir
	return path, compile("cc", "-std=gnu17", "-O2", "-o", path)
})

var programDir string // of what built has made; empty before

func compile(compiler string, flags ...string) error {
	args := append(slices.Clone(flags), "-Wall", "-Wextra", "-Werror", "-I.", "testdata/probe.c")
	if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", compiler, args, err, out)
	}
	return nil
}

// askC lets the C reader answer.
func askC(t *testing.T, program, path string, question probe.Question, q probe.Query) (bool, string) {
	t.Helper()
	verb := map[probe.Question]string{probe.IsLive: "live", probe.IsReady: "ready"}[question]
	cmd := exec.CommandContext(t.Context(), program, verb, path, q.Slot, fmt.Sprint(q.MaxAge.Nanoseconds()))
	out, err := cmd.Output()
	if exit, isExit := errors.AsType[*exec.ExitError](err); err != nil && (!isExit || exit.ExitCode() != 1) {
		t.Fatalf("the C reader: %v", err)
	}
	return err == nil, strings.TrimSuffix(string(out), "\n")
}

func TestTheHeaderCompilesInEveryDialectItPromises(t *testing.T) {
	program(t) // in that of GNU, optimized, which sees more
	for _, standard := range []string{"-std=c99", "-std=c11"} {
		if err := compile("cc", standard, "-pedantic", "-fsyntax-only"); err != nil {
			t.Error(err)
		}
	}
}

func TestAPageWrittenInCIsReadInGo(t *testing.T) {
	program := program(t)
	path := filepath.Join(t.TempDir(), "page")
	cmd := exec.CommandContext(t.Context(), program, "write", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	startWriter(t, cmd)
	r := open(t, path)
	want := []probe.SlotStatus{
		{Name: "control", State: probe.Ready, Reason: probe.ReasonBusy, Allowed: time.Minute},
		{Name: "log_writer-23.bytes.lng", State: probe.Draining, Reason: probe.ReasonCustom + 5, Allowed: time.Hour, Counter: 7},
	}
	wantSlots(t, r.Slots(), want)
	time.Sleep(20 * time.Millisecond)
	wrote := time.Now()
	if _, err := in.Write([]byte("b")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() string { return fmt.Sprint(r.Slots()[0].Age <= time.Since(wrote)) }, "true")
	if got := r.Ask(probe.IsReady, probe.Query{}); got.OK || !strings.HasPrefix(got.Text, "not ready: slot log_writer-23.bytes.lng is draining (other reason 1005); control ") {
		t.Errorf("is it ready: %+v", got)
	}
	if got := r.Ask(probe.IsReady, probe.Query{Slot: "control"}); !got.OK {
		t.Errorf("is slot control ready: %+v", got)
	}
	if _, err := probe.Join(path); !errors.Is(err, probe.ErrOwned) {
		t.Errorf("Join of a page written in C = %v, want ErrOwned", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := r.Ask(probe.IsLive, probe.Query{}); got.OK || !strings.Contains(got.Text, " is gone (busy); log_writer-23.bytes.lng gone") {
		t.Errorf("after the C writer's death: %+v", got)
	}
	if w, err := probe.Create(path); err != nil {
		t.Errorf("taking the page over: %v", err)
	} else if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestAPageWrittenInGoIsReadInC(t *testing.T) {
	program := program(t)
	path := filepath.Join(t.TempDir(), "page")
	if yes, line := askC(t, program, path, probe.IsLive, probe.Query{}); yes || line != "not live: no page at "+path {
		t.Errorf("without a page C says %v, %q", yes, line)
	}
	w := create(t, path)
	take(t, w, "poll", time.Hour).Set(probe.Ready, probe.ReasonIdle)
	job := take(t, w, "job", time.Hour)
	for state := probe.Starting; state <= probe.Stopped+1; state++ {
		job.Set(state, probe.Reason(2*state))
		for _, question := range []probe.Question{probe.IsLive, probe.IsReady} {
			for _, q := range []probe.Query{{}, {Slot: "job"}, {Slot: "poll"}, {Slot: "none"}, {MaxAge: time.Nanosecond}, {MaxAge: 1 << 62}} {
				compareReaders(t, program, path, fmt.Sprint("state ", uint32(state)), question, q)
			}
		}
	}
	if yes, _ := askC(t, program, path, probe.IsReady, probe.Query{Slot: "poll"}); !yes {
		t.Error("C never says yes")
	}
}

// TestBothReadersAgreeOnDamagedPages changes single words of a good page.
func TestBothReadersAgreeOnDamagedPages(t *testing.T) {
	program := program(t)
	dir := t.TempDir()
	good := filepath.Join(dir, "page")
	w := create(t, good)
	take(t, w, "poll", time.Hour).Set(probe.Ready, probe.ReasonIdle)
	take(t, w, "job", time.Hour).Set(probe.Live, probe.ReasonNone)
	page, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	values := []uint64{0, 1, 2, 5, 6, 1<<16 | 3, 1 << 22, 1 << 23, 1 << 31, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, 3e9, 0x2e2e20676f6f6421}
	path := filepath.Join(dir, "damaged")
	for turn := range 150 {
		damaged := bytes.Clone(page)
		word := []int{0, 1, 2, 3, 5, 6, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 29, 511}[random.IntN(19)]
		value := values[random.IntN(len(values))]
		binary.LittleEndian.PutUint64(damaged[8*word:], value)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		compareReaders(t, program, path, fmt.Sprintf("word %d = %#x", word, value), probe.Question(turn%2), probe.Query{})
	}
}

var ages = regexp.MustCompile(`\b[0-9.]+(ms|s|m|h)([0-9]+[sm])?\b`)

// compareReaders asks in Go, in C and in Go again: time goes on, so that the C
// reader has to agree with one of the two. Ages are cut off.
func compareReaders(t *testing.T, program, path, what string, question probe.Question, q probe.Query) {
	t.Helper()
	r := open(t, path)
	before := r.Ask(question, q)
	yes, line := askC(t, program, path, question, q)
	after := r.Ask(question, q)
	for _, v := range []probe.Verdict{before, after} {
		if yes == v.OK && ages.ReplaceAllString(line, "AGE") == ages.ReplaceAllString(v.Text, "AGE") {
			return
		}
	}
	t.Errorf("%s, question %d, %+v: C says %v, %q, Go says %+v and then %+v", what, question, q, yes, line, before, after)
}

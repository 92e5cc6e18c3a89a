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
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockless-ci/dockless/probe"
)

// compile builds testdata/probe.c, which uses dockless_probe.h.
func compile(t *testing.T, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Fatal("there is no C compiler to test dockless_probe.h with: apt-get install gcc libc6-dev")
	}
	path := filepath.Join(t.TempDir(), "probe")
	args := append(flags, "-Wall", "-Wextra", "-Werror", "-I.", "-o", path, "testdata/probe.c")
	if out, err := exec.CommandContext(t.Context(), cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("cc %q: %v\n%s", args, err, out)
	}
	return path
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
	for _, flags := range [][]string{{"-std=c99", "-pedantic"}, {"-std=c11"}, {"-std=gnu17", "-O2"}} {
		compile(t, flags...)
	}
}

func TestAPageWrittenInCIsReadInGo(t *testing.T) {
	program := compile(t)
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
		{Name: "log_writer-31.bytes.long.name.x", State: probe.Draining, Reason: probe.ReasonCustom + 5, Allowed: time.Hour, Counter: 7},
	}
	before := r.Slots()
	if diff := cmp.Diff(want, before, cmpopts.IgnoreFields(probe.SlotStatus{}, "Age")); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	time.Sleep(20 * time.Millisecond)
	if _, err := in.Write([]byte("b")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() string { return fmt.Sprint(r.Slots()[0].Age < 15*time.Millisecond) }, "true")
	if got := r.Ask(probe.IsReady, probe.Query{}); got.OK || got.Text != "not ready: slot log_writer-31.bytes.long.name.x is draining (other reason 1005)" {
		t.Errorf("is it ready: %+v", got)
	}
	if got := r.Ask(probe.IsReady, probe.Query{Slot: "control"}); !got.OK {
		t.Errorf("is slot control ready: %+v", got)
	}
	if _, err := probe.Create(path); !errors.Is(err, probe.ErrOwned) {
		t.Errorf("Create of a page written in C = %v, want ErrOwned", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := r.Ask(probe.IsLive, probe.Query{}); got.OK || !strings.HasSuffix(got.Text, "is gone") {
		t.Errorf("after the C writer's death: %+v", got)
	}
	if w, err := probe.Create(path); err != nil {
		t.Errorf("taking the page over: %v", err)
	} else if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestAPageWrittenInGoIsReadInC(t *testing.T) {
	program := compile(t, "-O2")
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
	program := compile(t, "-O2")
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
	values := []uint64{0, 1, 2, 5, 6, 1 << 31, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, 3e9, 0x2e2e20676f6f6421}
	path := filepath.Join(dir, "damaged")
	for turn := range 150 {
		damaged := bytes.Clone(page)
		word := []int{0, 1, 2, 3, 4, 6, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 28, 33, 511}[random.IntN(19)]
		value := values[random.IntN(len(values))]
		binary.LittleEndian.PutUint64(damaged[8*word:], value)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		compareReaders(t, program, path, fmt.Sprintf("word %d = %#x", word, value), probe.Question(turn%2), probe.Query{})
	}
}

// compareReaders asks in Go, in C and in Go again: time goes on, so that the C
// reader has to agree with one of the two. Ages are cut off.
func compareReaders(t *testing.T, program, path, what string, question probe.Question, q probe.Query) {
	t.Helper()
	r := open(t, path)
	before := r.Ask(question, q)
	yes, line := askC(t, program, path, question, q)
	after := r.Ask(question, q)
	for _, v := range []probe.Verdict{before, after} {
		inGo, _, _ := strings.Cut(v.Text, " beat ")
		inC, _, _ := strings.Cut(line, " beat ")
		if yes == v.OK && inC == inGo {
			return
		}
	}
	t.Errorf("%s, question %d, %+v: C says %v, %q, Go says %+v and then %+v", what, question, q, yes, line, before, after)
}

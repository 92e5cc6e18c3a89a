//go:build linux && (amd64 || arm64)

package probe_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/probe"
)

// churnVariable makes a child claim, fill and release slots of that name until
// its input ends.
const churnVariable = "DOCKLESS_PROBE_TEST_CHURN"

// churn fills all of a slot with one number at a time, so that a mixture shows.
func churn(path, name string) {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	w, err := probe.Join(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	for n := 1; ; n++ {
		select {
		case <-ended:
			fmt.Println(n)
			if err := w.Close(); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			os.Exit(0)
		default:
		}
		s, err := w.Slot(fmt.Sprintf("%s-%d", name, n), time.Hour+time.Duration(n))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		s.Count(uint64(n))
		s.Set(probe.Ready, probe.ReasonCustom+probe.Reason(n%60000))
		s.Beat()
		s.Release()
	}
}

// mixture says in which way a slot is not one that churn has written; empty when
// it is.
func mixture(s probe.SlotStatus) string {
	_, number, _ := strings.Cut(s.Name, "-")
	n, err := strconv.Atoi(number)
	filled := s.State == probe.Ready && s.Reason == probe.ReasonCustom+probe.Reason(n%60000) && s.Counter == uint64(n)
	empty := s.State == probe.Starting && s.Reason == probe.ReasonNone && (s.Counter == 0 || s.Counter == uint64(n))
	switch {
	case err != nil || n == 0:
		return "its name is none of ours"
	case s.Allowed != time.Hour+time.Duration(n):
		return "its allowed age is of another claim"
	case !filled && !empty:
		return "its state and counter are of different claims"
	case s.Gone:
		return "its process is gone"
	case s.Age < 0 || s.Age > time.Minute:
		return "its beat is of another time"
	}
	return ""
}

// TestSixteenWritersNeverShowAHalfWrittenSlot lets twelve processes in C and four
// in Go claim, fill and release slots of one page as fast as they can. Whatever a
// reader sees is one claim, whole.
func TestSixteenWritersNeverShowAHalfWrittenSlot(t *testing.T) {
	program := program(t)
	path := filepath.Join(t.TempDir(), "page")
	keep := join(t, path) // so that the page stays one file
	var inputs []io.Closer
	var outputs []*bufio.Reader
	var writers []*exec.Cmd
	for n := range 16 {
		name := fmt.Sprintf("w%d", n)
		cmd := exec.CommandContext(t.Context(), program, "churn", path, name)
		if n%4 == 0 {
			cmd = exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childVariable+"="+path, churnVariable+"="+name, "GORACE=atexit_sleep_ms=0")
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		inputs, outputs, writers = append(inputs, in), append(outputs, bufio.NewReader(out)), append(writers, cmd)
	}
	for n, out := range outputs {
		if line, err := out.ReadString('\n'); line != "ready\n" {
			t.Fatalf("writer %d printed %q (%v)", n, line, err)
		}
	}
	r := open(t, path)
	seen, whole := make(map[string]bool), 0
	const enough = 300 // a second's worth on two cores
	for end := time.Now().Add(2 * time.Minute); len(seen) < enough && time.Now().Before(end); {
		for _, s := range r.Slots() {
			if wrong := mixture(s); wrong != "" {
				t.Errorf("a slot is torn, %s: %+v", wrong, s)
			}
			seen[s.Name] = true
			whole++
		}
		if got := r.Ask(probe.IsLive, probe.Query{}); !got.OK && got.Text != "not live: no slot in use" {
			t.Errorf("among claims: %+v", got)
		}
		if t.Failed() {
			break
		}
	}
	claims := 0
	for n, in := range inputs {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		line, err := outputs[n].ReadString('\n')
		turns, _ := strconv.Atoi(strings.TrimSpace(line))
		if claims += turns; turns == 0 {
			t.Errorf("writer %d printed %q (%v), want its number of claims", n, line, err)
		}
		if err := writers[n].Wait(); err != nil {
			t.Errorf("writer %d: %v", n, err)
		}
	}
	t.Logf("%d claims, %d looks at a slot, %d different ones", claims, whole, len(seen))
	if len(seen) < enough {
		t.Errorf("only %d different slots were seen", len(seen))
	}
	if got := r.Slots(); len(got) != 0 {
		t.Errorf("after all have left there are slots: %+v", got)
	}
	if _, err := keep.Slot("last", time.Minute); err != nil {
		t.Error(err)
	}
}

// TestSixteenLoopsBeatWithoutTearing writes one slot from many goroutines: each
// value that a reader sees is one that somebody wrote.
func TestSixteenLoopsBeatWithoutTearing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := create(t, path)
	r := open(t, path)
	shared := take(t, w, "shared", time.Minute)
	shared.Set(probe.Starting, probe.ReasonCustom+probe.Reason(probe.Starting))
	done := make(chan struct{})
	const loops, rounds = 16, 2000
	for n := range loops {
		go func() {
			defer func() { done <- struct{}{} }()
			own, err := w.Slot(fmt.Sprintf("own-%d", n), time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range rounds {
				own.Beat()
				state := probe.Starting + probe.State(i%4)
				shared.Set(state, probe.ReasonCustom+probe.Reason(state))
				shared.Count(1)
			}
		}()
	}
	for left := loops; left > 0; {
		select {
		case <-done:
			left--
		default:
		}
		for _, s := range r.Slots() {
			if s.Name == "shared" && s.Reason != probe.ReasonCustom+probe.Reason(s.State) || s.Age < 0 || s.Age > time.Minute {
				t.Fatalf("torn: %+v", s)
			}
		}
		if got := r.Ask(probe.IsLive, probe.Query{}); !got.OK {
			t.Fatalf("among beats: %+v", got)
		}
	}
	if got := r.Slots()[0]; got.Counter != loops*rounds {
		t.Errorf("the counter is %d, want %d", got.Counter, loops*rounds)
	}
}

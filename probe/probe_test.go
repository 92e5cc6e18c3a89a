//go:build linux && (amd64 || arm64)

package probe_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/probe"
)

// childVariable makes this test binary a writer of the page it names, until its
// input ends or it is killed.
const childVariable = "DOCKLESS_PROBE_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		if name := os.Getenv(churnVariable); name != "" {
			churn(path, name)
		}
		writeUntilKilled(path)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(programDir)
		os.Exit(code)
	}))
}

func writeUntilKilled(path string) {
	w, err := probe.Join(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s, err := w.Slot("child", time.Hour)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s.Set(probe.Ready, probe.ReasonIdle)
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := w.Close(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startChild starts a process that writes the page at path and never ends.
func startChild(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	return startWriter(t, cmd)
}

// startWriter starts cmd and waits for its line "ready".
func startWriter(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the writer printed %q (%v), want ready", line, err)
	}
	return cmd
}

func create(t *testing.T, path string) *probe.Writer {
	t.Helper()
	return opened(t, path, probe.Create)
}

func join(t *testing.T, path string) *probe.Writer {
	t.Helper()
	return opened(t, path, probe.Join)
}

func opened(t *testing.T, path string, how func(string) (*probe.Writer, error)) *probe.Writer {
	t.Helper()
	w, err := how(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func take(t *testing.T, w *probe.Writer, name string, age time.Duration) *probe.Slot {
	t.Helper()
	s, err := w.Slot(name, age)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, path string) *probe.Reader {
	t.Helper()
	r, err := probe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// patch overwrites eight bytes of the page in file path.
func patch(t *testing.T, path string, offset int64, value uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, value), offset); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestThePageAnswersByTheStatesOfItsSlots(t *testing.T) {
	type step struct {
		slot   string
		state  probe.State
		reason probe.Reason
	}
	tests := []struct {
		name        string
		steps       []step
		query       probe.Query
		live, ready string // beginning of the line
	}{
		{
			"no slot", nil,
			probe.Query{},
			"not live: no slot in use", "not ready: no slot in use",
		},
		{
			"starting counts as live",
			[]step{{"poll", probe.Starting, probe.ReasonBuilder}},
			probe.Query{},
			"live: 1 slot: poll ", "not ready: slot poll is starting (builder does not answer)",
		},
		{
			"ready",
			[]step{{"poll", probe.Ready, probe.ReasonIdle}, {"job", probe.Ready, probe.ReasonNone}},
			probe.Query{},
			"live: 2 slots: poll ", "ready: 2 slots: poll ",
		},
		{
			"one is not ready",
			[]step{{"poll", probe.Live, probe.ReasonSession}, {"job", probe.Ready, probe.ReasonNone}},
			probe.Query{},
			"live: 2 slots", "not ready: slot poll is live (no session)",
		},
		{
			"draining",
			[]step{{"poll", probe.Draining, probe.ReasonTold}},
			probe.Query{},
			"live: 1 slot", "not ready: slot poll is draining (told to)",
		},
		{
			"stopped does not count",
			[]step{{"poll", probe.Ready, probe.ReasonBusy}, {"job", probe.Stopped, probe.ReasonFinished}},
			probe.Query{},
			"live: 1 slot: ", "ready: 1 slot: ",
		},
		{
			"all stopped",
			[]step{{"poll", probe.Stopped, probe.ReasonFinished}},
			probe.Query{},
			"not live: every slot is stopped", "not ready: every slot is stopped",
		},
		{
			"one slot asked for",
			[]step{{"poll", probe.Live, probe.ReasonSession}, {"job", probe.Ready, probe.ReasonNone}},
			probe.Query{Slot: "job"},
			"live: 1 slot: ", "ready: 1 slot: ",
		},
		{
			"a stopped slot asked for",
			[]step{{"poll", probe.Ready, probe.ReasonNone}, {"job", probe.Stopped, probe.ReasonFinished}},
			probe.Query{Slot: "job"},
			"not live: slot job is stopped", "not ready: slot job is stopped",
		},
		{
			"an unknown slot asked for",
			[]step{{"poll", probe.Ready, probe.ReasonNone}},
			probe.Query{Slot: "pol"},
			"not live: no slot pol", "not ready: no slot pol",
		},
		{
			"a state of the future",
			[]step{{"poll", 9, probe.ReasonCustom + 7}},
			probe.Query{},
			"not live: slot poll is in an unknown state (other reason 1007)", "not ready: slot poll is in an unknown state",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page")
			w := create(t, path)
			for _, s := range test.steps {
				take(t, w, s.slot, time.Minute).Set(s.state, s.reason)
			}
			r := open(t, path)
			for question, want := range []string{test.live, test.ready} {
				got := r.Ask(probe.Question(question), test.query)
				if !strings.HasPrefix(got.Text, want) || got.OK != !strings.HasPrefix(want, "not ") {
					t.Errorf("question %d: %+v, want a text that begins with %q", question, got, want)
				}
				ok, line := probe.CheckFile(nil, path, probe.Question(question), test.query)
				if ok != got.OK || !strings.HasPrefix(string(line), want) {
					t.Errorf("CheckFile, question %d: %v, %q, want what Ask answers", question, ok, line)
				}
			}
		})
	}
}

func TestALoopThatStandsStillIsNotLive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := create(t, path)
	stuck := take(t, w, "poll", time.Nanosecond)
	busy := take(t, w, "job", time.Nanosecond)
	stuck.Set(probe.Ready, probe.ReasonBusy)
	r := open(t, path)
	late := regexp.MustCompile(`^not live: slot poll: last beat [\d.hms]+ ago, allowed 0ms \(busy\); job `)
	deadline := time.Now().Add(time.Minute)
	for {
		busy.Beat()
		answer := r.Ask(probe.IsLive, probe.Query{})
		if late.MatchString(answer.Text) {
			break
		}
		if !answer.OK || time.Now().After(deadline) {
			t.Fatalf("while one loop stands still the page says %+v", answer)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if answer := r.Ask(probe.IsLive, probe.Query{MaxAge: time.Hour}); !answer.OK {
		t.Errorf("with a larger age allowed: %+v, want live", answer)
	}
	stuck.Allow(time.Hour)
	if answer := r.Ask(probe.IsReady, probe.Query{Slot: "poll"}); !answer.OK {
		t.Errorf("after Allow: %+v, want ready", answer)
	}
	time.Sleep(20 * time.Millisecond)
	patch(t, path, 128+8, uint64(probe.Ready)|1<<8) // a writer with an exact clock grants nothing on top
	if answer := r.Ask(probe.IsLive, probe.Query{MaxAge: time.Nanosecond}); answer.OK {
		t.Errorf("with hardly any age allowed: %+v, want not live", answer)
	}
}

func TestThePageOfADeadProcessIsNeverLive(t *testing.T) {
	t.Run("killed and not yet waited for", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "page")
		child := startChild(t, path)
		r := open(t, path)
		if answer := r.Ask(probe.IsReady, probe.Query{}); !answer.OK {
			t.Fatalf("while the writer lives: %+v, want ready", answer)
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("not live: slot child: process %d is gone (idle)", child.Process.Pid)
		waitFor(t, func() string { return r.Ask(probe.IsLive, probe.Query{}).Text }, want) // a zombie
		_ = child.Wait()
		if got := r.Ask(probe.IsLive, probe.Query{}).Text; got != want {
			t.Errorf("after it was waited for: %q, want %q", got, want)
		}
		w := create(t, path) // the next process takes the page over
		take(t, w, "next", time.Minute)
		if got, want := r.Ask(probe.IsLive, probe.Query{}).Text, "live: 1 slot: next "; !strings.HasPrefix(got, want) {
			t.Errorf("after the page was taken over: %q, want it to begin with %q", got, want)
		}
	})
	// What else tells a page of another process apart, by byte offset.
	for _, test := range []struct {
		name   string
		offset int64
		value  uint64
		want   string
	}{
		{"another boot", 16, 1, "not live: the page is from before the last boot"},
		{"process id used again", 128, uint64(os.Getpid()) | 1<<24, fmt.Sprintf("not live: slot poll: process %d is gone", os.Getpid())},
		{"no process", 128, 1 << 24, "not live: slot poll: process 0 is gone"},
		{"no possible process", 128, 1<<22 - 1 | 1<<24, "not live: slot poll: process 4194303 is gone"},
		{"being claimed", 128, uint64(os.Getpid()) | 1<<22, "not live: no slot in use"},
		{"no page", 0, 0, "not live: the file is not a probe page"},
		{"a later version", 8, 3 | 62<<32, "not live: the page has version 3, this reader knows 2"},
		{"the version before", 8, 1 | 62<<32, "not live: the page has version 1, this reader knows 2"},
		{"a clock without end", 128 + 8, uint64(probe.Ready) | 1<<8 | 0xffff<<48, "not live: slot poll allows an age that makes no sense"},
		{"no state", 128 + 8, 1 << 8, "not live: slot poll is in an unknown state"},
		{"a beat of the future", 128 + 16, 1 << 62, "not live: slot poll: last beat is in the future"},
		{"a beat before time", 128 + 16, 1 << 63, "not live: slot poll has never beaten"},
		{"an age without end", 128 + 24, 1 << 63, "not live: slot poll allows an age that makes no sense"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page")
			take(t, create(t, path), "poll", time.Minute)
			patch(t, path, test.offset, test.value)
			if got := open(t, path).Ask(probe.IsLive, probe.Query{}); got.OK || got.Text != test.want {
				t.Errorf("the page says %+v, want %q", got, test.want)
			}
		})
	}
}

func TestAWriterInAnotherPidNamespaceIsKnownByItsLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	child := startChild(t, path)
	patch(t, path, 40, 4711) // as if the child counted processes differently
	r := open(t, path)
	if answer := r.Ask(probe.IsLive, probe.Query{}); !answer.OK {
		t.Errorf("while the writer lives: %+v, want live", answer)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if answer := r.Ask(probe.IsLive, probe.Query{}); answer.OK {
		t.Errorf("after the writer's death: %+v, want not live", answer)
	}
}

func waitFor(t *testing.T, look func() string, want string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for look() != want {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: %q, want %q", look(), want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestCloseStopsTheSlotsAndABeatAfterwardsDoesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := create(t, path)
	s := take(t, w, "poll", time.Minute)
	r := open(t, path)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.Set(probe.Stopped, probe.ReasonTold)
	s.Count(3)
	if got, want := r.Ask(probe.IsLive, probe.Query{}).Text, "not live: no slot in use"; got != want {
		t.Errorf("after Close: %q, want %q", got, want)
	}
	if _, err := w.Slot("late", time.Minute); err == nil {
		t.Error("Slot after Close succeeds")
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

func TestSlotsAreCheckedAndCounted(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "page"))
	for _, bad := range []struct {
		name string
		age  time.Duration
	}{
		{"", time.Second},
		{strings.Repeat("x", 24), time.Second},
		{"two words", time.Second},
		{"line\n", time.Second},
		{"fine", 0},
		{"fine", -time.Second},
		{"fine", 366 * 24 * time.Hour},
	} {
		if _, err := w.Slot(bad.name, bad.age); err == nil {
			t.Errorf("Slot(%q, %v) succeeds", bad.name, bad.age)
		}
	}
	first := take(t, w, "slot-0", time.Second)
	for n := 1; n < probe.Slots; n++ {
		take(t, w, fmt.Sprintf("slot-%d", n), time.Second)
	}
	if _, err := w.Slot("one-more", time.Second); !errors.Is(err, probe.ErrFull) {
		t.Errorf("the 63rd slot: %v, want ErrFull", err)
	}
	if again := take(t, w, "slot-0", time.Second); again != first {
		t.Error("the slot of a name in use is another one")
	}
}

func TestAReaderShowsWhatTheWriterWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := create(t, path)
	longest := strings.Repeat("n", probe.MaxName)
	take(t, w, longest, time.Hour).Set(probe.Draining, probe.ReasonTold)
	counted := take(t, w, "Frames_1.0-x", time.Second)
	counted.Count(40)
	counted.Count(2)
	want := []probe.SlotStatus{
		{Name: longest, State: probe.Draining, Reason: probe.ReasonTold, Allowed: time.Hour},
		{Name: "Frames_1.0-x", State: probe.Starting, Allowed: time.Second, Counter: 42},
	}
	got := open(t, path).Slots()
	wantSlots(t, got, want)
	for _, s := range got {
		if s.Age < 0 || s.Age > time.Minute {
			t.Errorf("slot %s beat %v ago", s.Name, s.Age)
		}
	}
}

// wantSlots compares slots, but for the ages of their beats and their processes.
func wantSlots(t *testing.T, got, want []probe.SlotStatus) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(probe.SlotStatus{}, "Age", "Process")); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
}

func TestFilesThatAreNoPagesAreRefused(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("dockless"), 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if out, err := exec.CommandContext(t.Context(), "mkfifo", fifo).CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v: %s", err, out)
	}
	zeros := filepath.Join(dir, "zeros")
	if err := os.WriteFile(zeros, make([]byte, probe.PageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(zeros, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		short:                         "not live: not a probe page: " + short,
		fifo:                          "not live: not a probe page: " + fifo,
		dir:                           "not live: not a probe page: " + dir,
		filepath.Join(dir, "none"):    "not live: no page at " + filepath.Join(dir, "none"),
		filepath.Join(short, "below"): "not live: no page at " + filepath.Join(short, "below"),
		zeros:                         "not live: the file is not a probe page",
	} {
		if ok, line := probe.CheckFile(nil, path, probe.IsLive, probe.Query{}); ok || string(line) != want {
			t.Errorf("CheckFile(%s) = %v, %q, want %q", path, ok, line, want)
		}
	}
	if _, err := probe.Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a missing file = %v, want fs.ErrNotExist", err)
	}
	if _, err := probe.Open(short); err == nil {
		t.Error("Open of a short file succeeds")
	}
	for _, path := range []string{link, fifo, dir, filepath.Join(dir, "none", "page")} {
		if w, err := probe.Create(path); err == nil {
			t.Errorf("Create(%s) succeeds", path)
			_ = w.Close()
		}
	}
}

func TestANilWriterWritesNowhere(t *testing.T) {
	var w *probe.Writer
	s, err := w.Slot("poll", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s.Beat()
	s.Set(probe.Ready, probe.ReasonIdle)
	s.Allow(time.Hour)
	s.Count(1)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckFileAllocatesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	take(t, create(t, path), "poll", time.Minute)
	buf := make([]byte, 0, 1024)
	for _, p := range []string{path, path + "-none"} {
		if n := testing.AllocsPerRun(100, func() {
			probe.CheckFile(buf, p, probe.IsReady, probe.Query{Slot: "poll", MaxAge: time.Hour})
		}); n != 0 {
			t.Errorf("CheckFile(%s) allocates %v times, want 0", p, n)
		}
	}
}

func BenchmarkBeat(b *testing.B) {
	w, err := probe.Create(filepath.Join(b.TempDir(), "page"))
	if err != nil {
		b.Fatal(err)
	}
	s, err := w.Slot("poll", time.Second)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Beat()
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkCheckFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "page")
	w, err := probe.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.Slot("poll", time.Hour); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		probe.CheckFile(buf, path, probe.IsLive, probe.Query{})
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

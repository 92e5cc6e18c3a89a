//go:build linux && (amd64 || arm64)

package probe_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/probe"
)

func TestSeveralProcessesHaveOneVerdict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := join(t, path)
	poll := take(t, w, "poll", time.Minute)
	poll.Set(probe.Ready, probe.ReasonIdle)
	child := startChild(t, path)
	r := open(t, path)
	if got := r.Ask(probe.IsReady, probe.Query{}); !got.OK || !strings.HasPrefix(got.Text, "ready: 2 slots: poll ") || !strings.Contains(got.Text, ", child ") {
		t.Errorf("with both ready: %+v", got)
	}
	poll.Set(probe.Draining, probe.ReasonTold)
	if got := r.Ask(probe.IsReady, probe.Query{}); got.OK || !strings.HasPrefix(got.Text, "not ready: slot poll is draining (told to); child ") {
		t.Errorf("with one draining: %+v", got)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	want := fmt.Sprintf("not live: slot child: process %d is gone (idle); poll ", child.Process.Pid)
	if got := r.Ask(probe.IsLive, probe.Query{}); got.OK || !strings.HasPrefix(got.Text, want) {
		t.Errorf("with one killed: %+v, want %q", got, want)
	}
	if got := r.Ask(probe.IsLive, probe.Query{Slot: "poll"}); !got.OK {
		t.Errorf("the slot of the other: %+v", got)
	}
	again := startChild(t, path)
	if got := r.Ask(probe.IsLive, probe.Query{}); !got.OK || len(r.Slots()) != 2 {
		t.Errorf("started again: %+v, %d slots", got, len(r.Slots()))
	}
	for _, s := range r.Slots() {
		if want := map[string]int{"poll": os.Getpid(), "child": again.Process.Pid}[s.Name]; s.Process != want || s.Gone {
			t.Errorf("slot %s is of process %d, gone %v, want of %d", s.Name, s.Process, s.Gone, want)
		}
	}
}

func TestAProcessIsAskedAboutAlone(t *testing.T) {
	for name, foreign := range map[string]bool{"where the page was made": false, "in another pid namespace": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page")
			child := startChild(t, path)
			if foreign {
				patch(t, path, 40, 4711)
			}
			w := join(t, path)
			poll := take(t, w, "poll", time.Minute)
			poll.Set(probe.Ready, probe.ReasonIdle)
			r := open(t, path)
			us, none := probe.Query{Process: os.Getpid()}, probe.Query{Process: 1<<22 - 1}
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait()
			if got := r.Ask(probe.IsLive, probe.Query{}); got.OK {
				t.Errorf("with another's death, the page: %+v, want not live", got)
			}
			if got := r.Ask(probe.IsReady, us); !got.OK || !strings.HasPrefix(got.Text, "ready: 1 slot: poll ") {
				t.Errorf("we, then: %+v, want ready", got)
			}
			if got, want := r.Ask(probe.IsLive, none).Text, "not live: process 4194303 has no slot"; got != want {
				t.Errorf("nobody: %q, want %q", got, want)
			}
			poll.Set(probe.Live, probe.ReasonServer)
			if got := r.Ask(probe.IsReady, us); got.OK || got.Text != "not ready: slot poll is live (server does not answer)" {
				t.Errorf("we, when not ready: %+v", got)
			}
		})
	}
}

func TestAPageOfOnesOwnIsNotShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := create(t, path)
	take(t, w, "poll", time.Minute)
	for name, open := range map[string]func(string) (*probe.Writer, error){"Create": probe.Create, "Join": probe.Join} {
		if _, err := open(path); !errors.Is(err, probe.ErrOwned) {
			t.Errorf("%s of a page that has an owner = %v, want ErrOwned", name, err)
		}
	}
	if answer := open(t, path).Ask(probe.IsLive, probe.Query{}); !answer.OK {
		t.Errorf("after both were refused: %+v, want live", answer)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the file: %v, want it removed", err)
	}
	shared := join(t, path)
	if _, err := probe.Create(path); !errors.Is(err, probe.ErrOwned) {
		t.Errorf("Create of a page that others share = %v, want ErrOwned", err)
	}
	if err := shared.Close(); err != nil {
		t.Fatal(err)
	}
	create(t, path)
}

func TestANameHasOneLivingOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	startChild(t, path)
	w := join(t, path)
	if _, err := w.Slot("child", time.Minute); !errors.Is(err, probe.ErrOwned) || errors.Is(err, probe.ErrFull) {
		t.Errorf("Slot of another process' name = %v, want ErrOwned", err)
	}
	other := join(t, path)
	take(t, w, "poll", time.Minute)
	if _, err := other.Slot("poll", time.Minute); !errors.Is(err, probe.ErrOwned) {
		t.Errorf("Slot of another Writer's name = %v, want ErrOwned", err)
	}
}

func TestTheLastOneRemovesThePage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	one, other := join(t, path), join(t, path)
	take(t, one, "one", time.Minute)
	take(t, other, "other", time.Minute)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if ok, line := probe.CheckFile(nil, path, probe.IsLive, probe.Query{}); !ok || !strings.HasPrefix(string(line), "live: 1 slot: other ") {
		t.Errorf("after the first has left: %v, %q", ok, line)
	}
	take(t, other, "one", time.Minute) // its name is free again
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the last has left, the file: %v, want it removed", err)
	}
}

func TestAReleasedSlotCountsNoMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := join(t, path)
	take(t, w, "poll", time.Minute)
	s := take(t, w, "job", time.Nanosecond)
	s.Release()
	next := take(t, w, "next", time.Minute)
	s.Beat()
	s.Set(probe.Draining, probe.ReasonFailed)
	s.Allow(time.Nanosecond)
	s.Count(7)
	s.Release()
	next.Set(probe.Ready, probe.ReasonNone)
	want := []probe.SlotStatus{{Name: "poll", State: probe.Starting, Allowed: time.Minute}, {Name: "next", State: probe.Ready, Allowed: time.Minute}}
	wantSlots(t, open(t, path).Slots(), want)
}

// deadOwner is the first word of a slot of a process that there cannot be.
const deadOwner = 1<<22 - 1 | 1<<24

// TestWhatDeadProcessesLeft fills a page but for one slot, and says who died there.
func TestWhatDeadProcessesLeft(t *testing.T) {
	const moving, left = 1 << 22, 128 + 61*64
	for name, test := range map[string]struct {
		owner, status uint64
		word          string // a free name: does it get the slot?
		want          error
	}{
		"in the middle of a claim": {deadOwner | moving, 0, "new", nil},
		"having ended its loop":    {deadOwner, uint64(probe.Stopped), "new", nil},
		"in its loop":              {deadOwner, uint64(probe.Ready), "new", probe.ErrFull},
		"in its loop, followed":    {deadOwner, uint64(probe.Ready), "slot-61", nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "page")
			w := join(t, path)
			for n := range probe.Slots - 1 {
				take(t, w, fmt.Sprintf("slot-%d", n), time.Minute)
			}
			other := join(t, path)
			take(t, other, "slot-61", time.Minute)
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			patch(t, path, left+8, test.status)
			patch(t, path, left, test.owner)
			if _, err := w.Slot(test.word, time.Minute); !errors.Is(err, test.want) {
				t.Errorf("Slot = %v, want %v", err, test.want)
			}
		})
	}
}

func TestProcessesOfOtherNamespacesShareAPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	take(t, join(t, path), "here", time.Minute)
	patch(t, path, 40, 4711) // as if whoever made the page counted processes differently
	other := join(t, path)
	guest := take(t, other, "guest", time.Minute)
	r := open(t, path)
	if got := r.Ask(probe.IsLive, probe.Query{}); !got.OK || len(r.Slots()) != 2 {
		t.Errorf("with both alive: %+v", got)
	}
	if _, err := join(t, path).Slot("guest", time.Minute); !errors.Is(err, probe.ErrOwned) {
		t.Errorf("Slot of a guest's name = %v, want ErrOwned", err)
	}
	guest.Release()
	if got := r.Ask(probe.IsLive, probe.Query{}); !got.OK || len(r.Slots()) != 1 {
		t.Errorf("after the guest has left: %+v", got)
	}
	take(t, other, "guest", time.Minute)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.Ask(probe.IsLive, probe.Query{}); !got.OK || !strings.HasPrefix(got.Text, "live: 1 slot: here ") {
		t.Errorf("after the guest's end: %+v", got)
	}
}

// A lock is not seen by who holds it, so that a guest, whose life shows in its locks,
// has to know that it lives.
func TestAGuestKeepsASlotThatItHasStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	keep := join(t, path)
	patch(t, path, 40, 4711)
	guest := join(t, path)
	for n := range probe.Slots {
		take(t, guest, fmt.Sprintf("slot-%d", n), time.Minute).Set(probe.Stopped, probe.ReasonIdle)
	}
	if _, err := guest.Slot("more", time.Minute); !errors.Is(err, probe.ErrFull) {
		t.Errorf("the 63rd slot of a guest = %v, want ErrFull", err)
	}
	if _, err := keep.Slot("slot-3", time.Minute); !errors.Is(err, probe.ErrOwned) {
		t.Errorf("a guest's slot for somebody else = %v, want ErrOwned", err)
	}
}

func TestAFileThatIsInUseForSomethingElseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	w := join(t, path)
	patch(t, path, 8, 1|62<<32)
	if _, err := probe.Join(path); !errors.Is(err, probe.ErrOwned) || !strings.Contains(err.Error(), "version 1") {
		t.Errorf("Create of a page of another version in use = %v, want ErrOwned", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("left by something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	take(t, join(t, path), "poll", time.Minute)
	if ok, line := probe.CheckFile(nil, path, probe.IsLive, probe.Query{}); !ok {
		t.Errorf("after taking over a file: %s", line)
	}
}

// TestAPageIsMadeAndRemovedByManyAtOnce lets the first and the last of the page's
// users meet: who has a slot is on the page that everybody finds.
func TestAPageIsMadeAndRemovedByManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	done := make(chan error)
	const users = 6
	for n := range users {
		go func() { done <- comeAndGo(path, fmt.Sprintf("user-%d", n)) }()
	}
	for range users {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after all have left, the file: %v, want it removed", err)
	}
}

func comeAndGo(path, name string) error {
	for range 25 {
		w, err := probe.Join(path)
		if err != nil {
			return err
		}
		if _, err := w.Slot(name, time.Minute); err != nil {
			return errors.Join(err, w.Close())
		}
		if ok, line := probe.CheckFile(nil, path, probe.IsLive, probe.Query{Slot: name}); !ok {
			return errors.Join(fmt.Errorf("with a slot: %s", line), w.Close())
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

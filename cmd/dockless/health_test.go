package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/probe"
)

// asked returns what a probe of the page says.
func asked(t *testing.T, path string, q probe.Question) probe.Verdict {
	t.Helper()
	r, err := probe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	return r.Ask(q, probe.Query{})
}

// comes waits until something is true, and reports whether that came. The bound is for a
// test that fails: a machine that is busy with others stands still for many seconds.
func comes(want func() bool) bool {
	for end := time.Now().Add(time.Minute); !want(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// said waits until a probe of the page says ok, in a line with words in it.
func said(t *testing.T, path string, q probe.Question, ok bool, words string) {
	t.Helper()
	var got probe.Verdict
	if !comes(func() bool {
		got = asked(t, path, q)
		return got.OK == ok && strings.Contains(got.Text, words)
	}) {
		t.Fatalf("the page says %q, want %t and %q", got.Text, ok, words)
	}
}

func TestAnAgentIsReadyWithItsSessionAndAliveWhileItDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	h, err := openHealth(path, false, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when string, live, ready bool, words string) {
		t.Helper()
		l, r := asked(t, path, probe.IsLive), asked(t, path, probe.IsReady)
		if l.OK != live || r.OK != ready || !strings.Contains(r.Text, words) {
			t.Errorf("%s: live %t (%s), ready %t (%s), want %t and %t with %q", when, l.OK, l.Text, r.OK, r.Text, live, ready, words)
		}
	}
	idles := func(when string, idle bool) {
		t.Helper()
		if got, want := reason(t, path, "poll"), map[bool]probe.Reason{true: probe.ReasonIdle, false: probe.ReasonBusy}[idle]; got != want {
			t.Errorf("%s: the message loop is %s, want %s", when, got, want)
		}
	}
	expect("while it boots", true, false, "starting")

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.watch(ctx, &workshop{}, slog.New(slog.DiscardHandler))
	}()
	hooks := h.agent()
	hooks.Ready(true)
	said(t, path, probe.IsReady, true, "") // once the watch has said that there is no builder
	expect("with a session", true, true, "")
	hooks.Ready(false)
	expect("without a session", true, false, "no session")
	hooks.Ready(true)
	hooks.Answers(false)
	expect("without a server", true, false, "server does not answer")
	hooks.Answers(true)
	expect("with the server back", true, true, "")
	hooks.Lock(true)
	hooks.Report(true)
	inJob(h.step)(true)
	expect("in a job", true, true, "4 slots")
	idles("in a job", false)
	hooks.Lock(false)
	hooks.Report(false)
	inJob(h.step)(false)
	expect("after it", true, true, "1 slot: poll ")
	idles("after it", true)

	hooks.Draining()
	hooks.Ready(true) // the session was reopened for the job that still runs
	expect("while it drains", true, false, "draining")
	stop()
	<-done
	h.leave()
	h.leave() // it may be told more than once
	expect("while it cleans up", true, false, "draining")
	if err := h.close(); err != nil {
		t.Error(err)
	}
	if _, err := probe.Open(path); err == nil {
		t.Error("the page is still there after the end")
	}
}

// reason is what a slot of the page says.
func reason(t *testing.T, path, name string) probe.Reason {
	t.Helper()
	r, err := probe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // it is only read
	slots := r.Slots()
	i := slices.IndexFunc(slots, func(s probe.SlotStatus) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no slot %s among %+v", name, slots)
	}
	return slots[i].Reason
}

func TestAnAgentSharesItsPageOnlyWhenAskedTo(t *testing.T) {
	for _, shared := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "page")
		h, err := openHealth(path, shared, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		guest, err := probe.Join(path)
		if joined := err == nil; joined != shared {
			t.Errorf("shared %t: another program joins: %v", shared, err)
		}
		if slot, err := guest.Slot("control", time.Hour); err != nil || slot != nil && !strings.Contains(asked(t, path, probe.IsLive).Text, "control") {
			t.Errorf("the verdict is not about the other program: %v", err)
		}
		if _, err := openHealth(path, shared, time.Minute); !errors.Is(err, probe.ErrOwned) || len(hint.All(err)) != 1 {
			t.Errorf("shared %t: a second agent on the page: %v, hints %q, want ErrOwned with a hint", shared, err, hint.All(err))
		}
		if err := errors.Join(guest.Close(), h.close()); err != nil {
			t.Error(err)
		}
	}
}

// Until the loops run, nobody beats: the page allows for all that a start may wait for.
func TestAStartIsNotDeadWhileItWaitsForWhatItMay(t *testing.T) {
	for name, s := range map[string]struct{ build, podman time.Duration }{
		"as it is by default": {time.Minute, 10 * time.Second},
		"a patient Podman":    {time.Minute, 10 * time.Minute},
		"a patient BuildKit":  {10 * time.Minute, time.Second},
		"impatient":           {time.Second, time.Second},
	} {
		var settings agentSettings
		settings.Build.Timeout, settings.Podman.ConnectTimeout = s.build, s.podman
		if got, least := settings.bootTime(), max(s.build, s.podman)+clearTime; got <= least {
			t.Errorf("%s: bootTime() = %s, want more than the %s of its longest waits", name, got, least)
		}
	}
}

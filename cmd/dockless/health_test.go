package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
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
	expect("while it boots", true, false, "starting")

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.watch(ctx, &workshop{}, slog.New(slog.DiscardHandler))
	}()
	hooks := h.agent()
	hooks.Ready(true)
	for asked(t, path, probe.IsReady).OK == false {
		time.Sleep(time.Millisecond) // the watch has to say that there is no builder
	}
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
	hooks.Lock(false)
	hooks.Report(false)
	inJob(h.step)(false)
	expect("after it", true, true, "1 slot: poll ")

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

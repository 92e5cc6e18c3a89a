package agent_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/hint"
)

var blue = map[string]string{"dockless.fleet": "blue"}

// reaper is an agent of the fleet blue that is only asked to reap.
func reaper(t *testing.T, srv *emulatortest.Server, address string) *agent.Agent {
	t.Helper()
	return newAgent(t, named(t, srv, "reaper", func(c *agent.Config) { c.URL, c.Fleet = address, "blue" }), nil)
}

func outcomes(reaped []agent.Reaped) map[string]agent.Outcome {
	all := make(map[string]agent.Outcome)
	for _, r := range reaped {
		all[r.Name] = r.Outcome
	}
	return all
}

func TestReapingRemovesTheFleetsOfflineAgentsAndNoOthers(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	admin.add("dead-1", blue)
	admin.add("dead-2", blue)
	admin.add("red", map[string]string{"dockless.fleet": "red"})
	admin.add("microsofts", map[string]string{"Agent.OS": "Linux"})
	admin.add("template", map[string]string{"dockless.fleet": "blue", "dockless.placeholder": "true"})
	admin.add("jetson", map[string]string{"dockless.fleet": "blue", "dockless.ephemeral": "false"})
	online(t, named(t, srv, "alive", func(c *agent.Config) { c.Fleet = "blue" }))
	r := reaper(t, srv, srv.URL)

	young, err := r.Reap(t.Context(), agent.ReapOptions{OfflineFor: time.Hour})
	if err != nil || len(young) > 0 {
		t.Errorf("Reap of those offline for an hour = %v, %v, want none", young, err)
	}
	planned, err := r.Reap(t.Context(), agent.ReapOptions{DryRun: true})
	if diff := cmp.Diff(map[string]agent.Outcome{"dead-1": agent.WouldRemove, "dead-2": agent.WouldRemove}, outcomes(planned)); err != nil || diff != "" {
		t.Errorf("dry run: %v (-want +got):\n%s", err, diff)
	}
	if names := admin.names(); len(names) != 7 {
		t.Errorf("after a dry run the pool has %v, want all seven", names)
	}
	reaped, err := r.Reap(t.Context(), agent.ReapOptions{})
	if diff := cmp.Diff(map[string]agent.Outcome{"dead-1": agent.Removed, "dead-2": agent.Removed}, outcomes(reaped)); err != nil || diff != "" {
		t.Errorf("Reap: %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff(map[string]bool{"red": true, "microsofts": true, "template": true, "jetson": true, "alive": true}, admin.names()); diff != "" {
		t.Errorf("agents that are left (-want +got):\n%s", diff)
	}
	if again, err := r.Reap(t.Context(), agent.ReapOptions{}); err != nil || len(again) > 0 {
		t.Errorf("Reap again = %v, %v, want nothing to do", again, err)
	}
}

// An agent whose node lost its network is offline while its request is locked.
func TestAnAgentWithARequestIsNotReapedBeforeItsLockIsOver(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) {
		c.SessionExpiry, c.LockDuration, c.PollHold = 500*time.Millisecond, 3*time.Second, 100*time.Millisecond
	})
	admin := administratorOf(t, srv)
	var cut atomic.Bool
	address := proxied(t, srv, func(w http.ResponseWriter, _ *http.Request) bool {
		if cut.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		return cut.Load()
	})
	id := srv.Queue(emulatortest.Script("true"))
	started(t, newAgent(t, named(t, srv, "lost", func(c *agent.Config) { c.URL, c.Fleet, c.Reregister = address, "blue", false }), records(untilStopped)))
	srv.AwaitState(id, emulator.Running)
	cut.Store(true)
	for end := time.Now().Add(20 * time.Second); srv.Agents()["lost"] && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	r := reaper(t, srv, srv.URL)
	if reaped, err := r.Reap(t.Context(), agent.ReapOptions{}); err != nil || len(reaped) > 0 {
		t.Errorf("Reap while the request is locked = %v, %v, want none", reaped, err)
	}
	srv.AwaitState(id, emulator.Completed)
	reaped, err := r.Reap(t.Context(), agent.ReapOptions{})
	if diff := cmp.Diff(map[string]agent.Outcome{"lost": agent.Removed}, outcomes(reaped)); err != nil || diff != "" {
		t.Errorf("Reap after the lock is over: %v (-want +got):\n%s", err, diff)
	}
	if names := admin.names(); len(names) > 0 {
		t.Errorf("agents that are left = %v, want none", names)
	}
	cut.Store(false) // the agent finds itself revoked and ends
}

// atSecondLook calls change before the request for one agent is answered.
func atSecondLook(t *testing.T, srv *emulatortest.Server, change func(id ado.AgentID, w http.ResponseWriter) bool) string {
	t.Helper()
	return proxied(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
		_, last, _ := strings.Cut(r.URL.Path, "/agents/")
		id, err := strconv.Atoi(last)
		return err == nil && r.Method == http.MethodGet && change(ado.AgentID(id), w)
	})
}

func TestASecondLookKeepsAnAgentThatChanged(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	admin.add("dead", blue)
	var stop func() error
	r := reaper(t, srv, atSecondLook(t, srv, func(ado.AgentID, http.ResponseWriter) bool {
		if stop == nil { // it comes back just now
			stop = online(t, named(t, srv, "dead", func(c *agent.Config) { c.Fleet = "blue" }))
		}
		return false
	}))
	reaped, err := r.Reap(t.Context(), agent.ReapOptions{})
	if err != nil || len(reaped) != 1 || reaped[0].Outcome != agent.Kept || reaped[0].Reason != "it is not offline" {
		t.Errorf("Reap = %+v, %v, want the agent kept because it is not offline", reaped, err)
	}
	if !admin.names()["dead"] {
		t.Error("an agent that came back was removed")
	}
}

func TestAnAgentThatSomebodyElseRemovedIsGone(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	admin.add("dead", blue)
	r := reaper(t, srv, atSecondLook(t, srv, func(id ado.AgentID, _ http.ResponseWriter) bool {
		if err := admin.DeleteAgent(t.Context(), admin.pool, id); err != nil {
			t.Error(err)
		}
		return false
	}))
	reaped, err := r.Reap(t.Context(), agent.ReapOptions{})
	if diff := cmp.Diff(map[string]agent.Outcome{"dead": agent.Gone}, outcomes(reaped)); err != nil || diff != "" {
		t.Errorf("Reap: %v (-want +got):\n%s", err, diff)
	}
}

func TestManyReapersRemoveEachAgentOnce(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	const agents = 12
	for i := range agents {
		admin.add("dead-"+strconv.Itoa(i), blue)
	}
	var all sync.WaitGroup
	for range 4 {
		r := reaper(t, srv, srv.URL)
		all.Go(func() {
			if _, err := r.Reap(t.Context(), agent.ReapOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if names := admin.names(); len(names) > 0 {
		t.Errorf("agents that are left = %v, want none", names)
	}
}

func TestReapingGoesOnAfterAFailure(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	admin.add("first", blue)
	second := admin.add("second", blue)
	admin.add("third", blue)
	r := reaper(t, srv, proxied(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/"+strconv.Itoa(int(second.ID))) && refuse(w, http.StatusForbidden, "AccessDeniedException")
	}))
	reaped, err := r.Reap(t.Context(), agent.ReapOptions{})
	want := map[string]agent.Outcome{"first": agent.Removed, "second": agent.Failed, "third": agent.Removed}
	if diff := cmp.Diff(want, outcomes(reaped)); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if !errors.Is(err, ado.ErrAccessDenied) || !strings.Contains(err.Error(), "1 of 3 agents") || len(hint.All(err)) == 0 {
		t.Errorf("Reap: %v, want an error that counts one of three, with a hint", err)
	}
}

func TestReapingEndsWhenItIsTold(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	admin.add("first", blue)
	admin.add("second", blue)
	ctx, cancel := context.WithCancelCause(t.Context())
	told := errors.New("told to stop")
	r := reaper(t, srv, atSecondLook(t, srv, func(ado.AgentID, http.ResponseWriter) bool {
		cancel(told)
		return false
	}))
	reaped, err := r.Reap(ctx, agent.ReapOptions{})
	if !errors.Is(err, told) || len(reaped) != 2 {
		t.Errorf("Reap = %v, %v, want both agents listed and the cause", reaped, err)
	}
	if len(admin.names()) != 2 {
		t.Error("an agent was removed after the order to stop")
	}
}

func TestReapingNeedsAFleet(t *testing.T) {
	srv := emulatortest.New(t)
	_, err := newAgent(t, config(t, srv), nil).Reap(t.Context(), agent.ReapOptions{})
	if err == nil || len(hint.All(err)) != 1 || !strings.Contains(hint.All(err)[0], "DOCKLESS_FLEET") {
		t.Errorf("Reap: %v, want an error with a hint that names DOCKLESS_FLEET", err)
	}
}

package agent_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// The statements of the protocol's checklist (§13) that an agent's life holds, as
// they show on the wire between the agent and a server. docs/protocol.md lists
// where the others are held.

func TestA1BasicRegistersAndBearerDoesEverythingElse(t *testing.T) {
	srv := emulatortest.New(t)
	w := tapped(t, srv, nil)
	stop := started(t, newAgent(t, through(t, srv, w), records(succeed)))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	if err := stop(); err != nil {
		t.Error(err)
	}
	registering := func(e exchange) bool {
		return e.resource() == "pools" || e.resource() == "agents" || e.resource() == "usercapabilities"
	}
	var basic, bearer int
	for _, e := range w.seen(func(e exchange) bool { return e.resource() != "token" && e.method != http.MethodOptions }) {
		switch {
		case e.scheme == "Basic" && (registering(e) || strings.EqualFold(e.resource(), "connectionData")):
			basic++
		case e.scheme == "Bearer" && !registering(e):
			bearer++
		default:
			t.Errorf("%s %s carries %q", e.method, e.path, e.scheme)
		}
	}
	if basic == 0 || bearer == 0 {
		t.Errorf("%d requests with Basic, %d with Bearer, want some of each", basic, bearer)
	}
	for _, e := range w.seen(func(e exchange) bool { return e.resource() == "token" }) {
		if e.scheme != "" {
			t.Errorf("the token request carries %q, want nothing but its assertion", e.scheme)
		}
	}
}

// Routes come from the server: here it moved the pool's resources and offers
// nothing that an agent can do without.
func TestA2RoutesAreDiscoveredAndOptionalOnesMayBeMissing(t *testing.T) {
	srv := emulatortest.New(t)
	needed := []string{"pools", "agents", "sessions", "messages", "jobrequests", "logs", "records", "feed", "events"}
	w := tapped(t, srv, func(all []map[string]any) []map[string]any {
		return slices.DeleteFunc(all, func(l map[string]any) bool { return !slices.Contains(needed, l["resourceName"].(string)) })
	})
	stop := started(t, newAgent(t, through(t, srv, w), records(succeed)))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	if err := stop(); err != nil {
		t.Error(err)
	}
	// And a route that is spelled otherwise is used as it is spelled.
	moved := tapped(t, srv, func(all []map[string]any) []map[string]any {
		for _, l := range all {
			if l["resourceName"] == "sessions" {
				l["routeTemplate"] = strings.Replace(l["routeTemplate"].(string), "distributedtask", "DistributedTask", 1)
			}
		}
		return all
	})
	started(t, newAgent(t, through(t, srv, moved), records(succeed)))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	if n := len(moved.seen(func(e exchange) bool {
		return strings.Contains(e.path, "DistributedTask/pools") && e.resource() == "sessions"
	})); n == 0 {
		t.Error("the session was not opened at the route that the server announced")
	}
}

func TestA6AReplacedAgentWorksWithItsNewClientID(t *testing.T) {
	srv := emulatortest.New(t)
	c := config(t, srv)
	c.Ephemeral = false
	stop := started(t, newAgent(t, c, records(succeed)))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w := tapped(t, srv, nil)
	c.URL, c.StateDir = w.URL, t.TempDir() // another key too
	started(t, newAgent(t, c, records(succeed)))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	if put, post := w.seen(of(http.MethodPut, "agents")), w.seen(of(http.MethodPost, "agents")); len(put) != 1 || len(post) != 0 {
		t.Errorf("%d PUT and %d POST of agents, want one replacement and no second agent", len(put), len(post))
	}
}

func TestA11LastMessageIDIsPassedAndNoMessageComesTwice(t *testing.T) {
	srv := emulatortest.New(t)
	w := tapped(t, srv, nil)
	var ran atomic.Int32
	started(t, newAgent(t, through(t, srv, w), records(func(context.Context, agent.Conn) job.Result {
		ran.Add(1)
		return job.Succeeded
	})))
	for range 3 {
		wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	}
	last := int64(0)
	for _, e := range w.seen(of(http.MethodGet, "messages")) {
		text := e.query.Get("lastMessageId")
		id, _ := strconv.ParseInt(text, 10, 64)
		if text == "" && last != 0 || id < last {
			t.Errorf("a poll after message %d says lastMessageId=%q", last, text)
		}
		last = id
	}
	if last == 0 || ran.Load() != 3 {
		t.Errorf("last lastMessageId = %d, %d jobs ran, want the third message's and 3", last, ran.Load())
	}
}

func TestA12PollingGoesOnWhileAJobRuns(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 50 * time.Millisecond })
	w := tapped(t, srv, nil)
	id := srv.Queue(emulatortest.Script("true"))
	started(t, newAgent(t, through(t, srv, w), records(lasting(500*time.Millisecond))))
	srv.AwaitState(id, emulator.Running)
	before := len(w.seen(of(http.MethodGet, "messages")))
	wantResult(t, srv, id, job.Succeeded)
	if n := len(w.seen(of(http.MethodGet, "messages"))) - before; n < 3 {
		t.Errorf("%d polls while the job ran for half a second, want one every 50 ms", n)
	}
}

func TestA13EachMessageIsDeletedOnceAfterItWasHandedOver(t *testing.T) {
	srv := emulatortest.New(t)
	w := tapped(t, srv, nil)
	c := through(t, srv, w)
	c.Once = true
	first, second := srv.Queue(emulatortest.Script("true")), srv.Queue(emulatortest.Script("true"))
	if err := newAgent(t, c, records(succeed)).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantResult(t, srv, first, job.Succeeded)
	deleted := w.seen(of(http.MethodDelete, "messages"))
	if len(deleted) != 1 || deleted[0].status/100 != 2 {
		t.Errorf("deletions = %+v, want one, of the first job's message", deleted)
	}
	// What came after the one job stays for another agent.
	if status, err := srv.Job(second); err != nil || status.State == emulator.Completed || !status.StartedAt.IsZero() {
		t.Errorf("the second job is %+v, %v, want it untouched", status, err)
	}
	for _, e := range w.seen(of(http.MethodGet, "messages")) {
		if len(deleted) > 0 && e.at.Before(deleted[0].at) && e.query.Get("lastMessageId") != "" {
			t.Error("a poll claims to have a message before any was deleted")
		}
	}
}

func TestA23AJobIsCompletedByEventOrByItsRequestAndNeverByBoth(t *testing.T) {
	for version, want := range map[int]struct{ events, finishes int }{7: {0, 1}, 8: {1, 0}, 9: {1, 0}} {
		srv := emulatortest.New(t)
		w := tapped(t, srv, nil)
		m := emulatortest.Script("true")
		m.Plan.Version = version
		stop := started(t, newAgent(t, through(t, srv, w), records(succeed)))
		wantResult(t, srv, srv.Queue(m), job.Succeeded)
		if err := stop(); err != nil {
			t.Error(err)
		}
		events := len(w.seen(of(http.MethodPost, "events")))
		finishes := len(w.seen(func(e exchange) bool {
			return of(http.MethodPatch, "jobrequests")(e) && strings.Contains(e.body, "finishTime")
		}))
		if events != want.events || finishes != want.finishes {
			t.Errorf("plan version %d: %d events and %d finished requests, want %+v", version, events, finishes, want)
		}
	}
}

func TestA24OnceSaysThatTheAgentShutsDown(t *testing.T) {
	for _, once := range []bool{false, true} {
		srv := emulatortest.New(t)
		w := tapped(t, srv, nil)
		c := through(t, srv, w)
		c.Once = once
		started(t, newAgent(t, c, records(succeed)))
		wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
		events := w.seen(of(http.MethodPost, "events"))
		if want := `"agentShuttingDown":` + strconv.FormatBool(once); len(events) != 1 || !strings.Contains(events[0].body, want) {
			t.Errorf("once %t: events = %+v, want one with %s", once, events, want)
		}
	}
}

func TestA33EveryOrderlyExitDeletesTheSession(t *testing.T) {
	for name, end := range map[string]func(c *agent.Config, srv *emulatortest.Server, stop func() error) error{
		"told to stop": func(_ *agent.Config, _ *emulatortest.Server, stop func() error) error { return stop() },
		"told during a job": func(_ *agent.Config, srv *emulatortest.Server, stop func() error) error {
			srv.AwaitState(srv.Queue(emulatortest.Script("true")), emulator.Running)
			return stop()
		},
		"the one job is over": nil,
	} {
		t.Run(name, func(t *testing.T) {
			srv := emulatortest.New(t)
			w := tapped(t, srv, nil)
			c := through(t, srv, w)
			ready := make(chan bool, 16)
			if end == nil {
				c.Once = true
				id := srv.Queue(emulatortest.Script("true"))
				if err := newAgent(t, c, records(succeed)).Run(t.Context()); err != nil {
					t.Error(err)
				}
				wantResult(t, srv, id, job.Succeeded)
			} else {
				stop := started(t, newAgent(t, c, records(lasting(100*time.Millisecond)), opened(ready)))
				<-ready
				if err := end(&c, srv, stop); err != nil {
					t.Errorf("Run = %v, want nil, which is exit code 0", err)
				}
			}
			made, deleted := w.seen(of(http.MethodPost, "sessions")), w.seen(of(http.MethodDelete, "sessions"))
			if len(made) != 1 || len(deleted) != 1 || deleted[0].status/100 != 2 {
				t.Errorf("%d sessions opened, deletions %+v, want one each", len(made), deleted)
			}
		})
	}
}

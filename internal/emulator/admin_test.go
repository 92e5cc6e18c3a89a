package emulator_test

import (
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/mask"
)

const pools = "/_apis/distributedtask/pools"

type poolList struct {
	Count int
	Value []struct {
		ID   int
		Name string
	}
}

// §2.1: pools are found by id as well as by name.
func TestPoolsAreFoundByID(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.Pools = []string{"Default", "linux-build"} })
	p := newPeer(t, srv, "a")
	for query, want := range map[string]int{"?poolIds=13": 1, "?poolIds=12,13": 2, "?poolIds=99": 0} {
		var out poolList
		p.want(200, "GET", pools+query, nil, p.pat()).into(t, &out)
		if out.Count != want || len(out.Value) != want || want == 1 && out.Value[0].Name != "linux-build" {
			t.Errorf("pools%s = %+v, want %d", query, out, want)
		}
	}
	var one struct{ Name string }
	p.want(200, "GET", pools+"/13", nil, p.pat()).into(t, &one)
	if one.Name != "linux-build" {
		t.Errorf("pool 13 = %+v, want linux-build", one)
	}
	p.refused(404, "TaskAgentPoolNotFoundException", "GET", pools+"/14", nil, p.pat())
}

// An agent that knows its pool by id must not notice that it was renamed, and one
// that looks for the old name must not find it.
func TestAPoolIsRenamed(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.Pools = []string{"Default", "other"} })
	p := online(t, srv, "a")
	rename := map[string]any{"name": "linux-build"}
	p.refused(403, "AccessDeniedException", "PATCH", pool, rename, bearer(p.agentToken))
	p.refused(404, "TaskAgentPoolNotFoundException", "PATCH", pools+"/99", rename, p.pat())
	p.refused(409, "TaskAgentPoolExistsException", "PATCH", pool, map[string]any{"name": "OTHER"}, p.pat())
	p.refused(400, "VssRequestContentException", "PATCH", pool, map[string]any{"name": ""}, p.pat())
	var one struct {
		ID   int
		Name string
	}
	p.want(200, "PATCH", pool, rename, p.pat()).into(t, &one)
	if one.ID != 12 || one.Name != "linux-build" {
		t.Errorf("the renamed pool = %+v", one)
	}
	p.want(200, "PATCH", pool, map[string]any{"name": "Linux-Build"}, p.pat()) // its own name
	for name, want := range map[string]int{"Default": 0, "linux-build": 1} {
		var out poolList
		p.want(200, "GET", pools+"?poolName="+name, nil, p.pat()).into(t, &out)
		if out.Count != want {
			t.Errorf("pools named %s = %+v, want %d", name, out, want)
		}
	}
	if _, err := srv.Server.Queue(emulatortest.Script("true"), emulator.Requirements{Pool: "Default"}); err == nil {
		t.Error("a job for the old name was queued")
	}
	if _, err := srv.Server.Queue(emulatortest.Script("true"), emulator.Requirements{Pool: "linux-build"}); err != nil {
		t.Errorf("queuing for the new name: %v", err)
	}
	p.running()
}

func TestARenamedPoolKeepsItsAgentsAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	same := func(c *emulator.Config) { c.StateDir, c.PAT = dir, mask.NewSecret("pat") }
	first := emulatortest.New(t, same)
	p := online(t, first, "a")
	p.want(200, "PATCH", pool, map[string]any{"name": "linux-build"}, p.pat())
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	p.srv = emulatortest.New(t, same)
	var out poolList
	p.want(200, "GET", pools+"?poolName=linux-build", nil, p.pat()).into(t, &out)
	if out.Count != 1 {
		t.Errorf("pools named linux-build = %+v, want the renamed one", out)
	}
	p.open()
}

type shownAgent struct {
	Status             string
	StatusChangedOn    *time.Time
	SystemCapabilities map[string]string
	AssignedRequest    *struct {
		RequestID int64
		JobID     string
	}
}

func (p *peer) shown(query string) shownAgent {
	p.t.Helper()
	var out struct{ Value []shownAgent }
	p.want(200, "GET", pool+"/agents"+query, nil, p.pat()).into(p.t, &out)
	if len(out.Value) != 1 || out.Value[0].StatusChangedOn == nil {
		p.t.Fatalf("agents%s = %+v, want one that says since when", query, out.Value)
	}
	return out.Value[0]
}

// §2.4: statusChangedOn tells since when an agent is online or offline.
func TestAnAgentTellsSinceWhenItIsOnline(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.SessionExpiry = 300 * time.Millisecond })
	p := newPeer(t, srv, "a")
	p.register()
	p.token()
	was := p.shown("")
	if was.Status != "offline" {
		t.Errorf("a registered agent is %s, want offline", was.Status)
	}
	for _, c := range []struct {
		change, status string
		do             func()
	}{
		{"opening a session", "online", p.open},
		{"deleting it", "offline", func() { p.want(204, "DELETE", pool+"/sessions/"+p.session, nil, bearer(p.agentToken)) }},
		{"opening another", "online", p.open},
		{"not polling", "offline", func() { time.Sleep(400 * time.Millisecond) }},
	} {
		time.Sleep(2 * time.Millisecond) // two changes at the same instant look like one
		c.do()
		now := p.shown("")
		if now.Status != c.status || !now.StatusChangedOn.After(*was.StatusChangedOn) {
			t.Errorf("after %s: %s since %s, want %s since later than %s", c.change, now.Status, now.StatusChangedOn, c.status, was.StatusChangedOn)
		}
		if again := p.shown(""); !again.StatusChangedOn.Equal(*now.StatusChangedOn) {
			t.Errorf("after %s the status changed again at %s", c.change, again.StatusChangedOn)
		}
		was = now
	}
}

// §2.3: capabilities and the job are shown when asked for.
func TestAnAgentIsListedWithItsJobWhenAskedFor(t *testing.T) {
	_, p, id := taken(t)
	if plain := p.shown(""); plain.AssignedRequest != nil || plain.SystemCapabilities != nil {
		t.Errorf("agent = %+v, want neither request nor capabilities", plain)
	}
	full := p.shown("?includeAssignedRequest=true&includeCapabilities=true")
	if full.AssignedRequest == nil || full.AssignedRequest.RequestID != p.request || full.AssignedRequest.JobID != string(id) {
		t.Errorf("assigned request = %+v, want request %d", full.AssignedRequest, p.request)
	}
	if full.SystemCapabilities["docker"] == "" {
		t.Errorf("capabilities = %v", full.SystemCapabilities)
	}
	p.want(204, "DELETE", pool+"/agents/87", nil, p.pat()) // its job is no obstacle
}

// The protocol document leaves open which of the two refusals the service sends.
func TestARemovedAgentMayBeNotFound(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.DeletedAgent = emulator.DeletedNotFound })
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.take()
	polled := make(chan answerOf, 1)
	go func() {
		a, err := p.try(t.Context(), "GET", p.pollPath(), nil, bearer(p.agentToken))
		if err != nil {
			t.Error(err)
		}
		polled <- a
	}()
	p.want(204, "DELETE", pool+"/agents/87", nil, p.pat())
	if a := <-polled; a.status != 404 || a.key() != "TaskAgentNotFoundException" {
		t.Errorf("the poll = %d %s, want 404 TaskAgentNotFoundException", a.status, a.body)
	}
	p.refused(404, "TaskAgentNotFoundException", "POST", pool+"/sessions", p.sessionBody(), bearer(p.agentToken))
	p.refused(404, "TaskAgentNotFoundException", "PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken))
}

package agent_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/hint"
)

// placeholderOf is an agent that is only asked for a placeholder.
func placeholderOf(t *testing.T, srv *emulatortest.Server, change ...func(*agent.Deps)) *agent.Agent {
	t.Helper()
	return newAgent(t, named(t, srv, "template", func(c *agent.Config) { c.Fleet = "blue" }), nil, change...)
}

func TestAPlaceholderStandsForAgentsToCome(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	arm := offering("dockless.platform", "linux/arm64")
	got, err := placeholderOf(t, srv, arm).Placeholder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	registered := admin.find("template")
	if got.Action != "added" || got.ID != registered.ID || !got.Enabled || registered.Enabled == nil || !*registered.Enabled || registered.Status != "offline" {
		t.Errorf("Placeholder = %+v, registered as %+v, want an enabled agent that is offline", got, registered)
	}
	if diff := cmp.Diff(registered.SystemCapabilities, got.Capabilities); diff != "" {
		t.Errorf("reported capabilities (-registered +reported):\n%s", diff)
	}
	for name, want := range map[string]string{"dockless.placeholder": "true", "dockless.fleet": "blue", "dockless.platform": "linux/arm64", "Agent.OS": "Linux"} {
		if registered.SystemCapabilities[name] != want {
			t.Errorf("capability %s = %q, want %q", name, registered.SystemCapabilities[name], want)
		}
	}
	if len(srv.Agents()) != 1 || srv.Agents()["template"] {
		t.Errorf("agents = %v, want the placeholder, offline", srv.Agents())
	}

	// A job that only the placeholder matches waits, and runs on an agent that was
	// started for it.
	id := srv.Queue(emulatortest.Script("true"), "dockless.platform -equals linux/arm64")
	wantWaiting(t, srv, id)
	online(t, named(t, srv, "jetson"), arm)
	wantAgent(t, srv, id, "jetson")
}

func TestAPlaceholderIsRegisteredOnce(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	var writes atomic.Int32
	address := proxied(t, srv, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet && r.Method != http.MethodOptions {
			writes.Add(1)
		}
		return false
	})
	change := func(c *agent.Config) { c.URL, c.Fleet, c.Capabilities = address, "blue", []string{"camera"} }
	for _, want := range []string{"added", "unchanged", "unchanged"} {
		p, err := newAgent(t, named(t, srv, "template", change), nil).Placeholder(t.Context())
		if err != nil || p.Action != want || p.UserCapabilities["camera"] != "true" {
			t.Errorf("Placeholder = %+v, %v, want it %s with its user capability", p, err, want)
		}
	}
	if n := writes.Load(); n != 2 {
		t.Errorf("%d requests changed something, want one that adds and one for the user capabilities", n)
	}
	p, err := newAgent(t, named(t, srv, "template", change), nil, offering("dockless.gpu", "nvidia.com/gpu")).Placeholder(t.Context())
	if err != nil || p.Action != "updated" || admin.find("template").SystemCapabilities["dockless.gpu"] == "" {
		t.Errorf("Placeholder with another capability = %+v, %v, want it updated", p, err)
	}
}

func TestManyPlaceholdersAtOnceBecomeOne(t *testing.T) {
	srv := emulatortest.New(t)
	var all sync.WaitGroup
	for range 4 {
		a := placeholderOf(t, srv)
		all.Go(func() {
			if _, err := a.Placeholder(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(srv.Agents()) != 1 {
		t.Errorf("agents = %v, want one", srv.Agents())
	}
}

func TestAPlaceholderOffersWhatTheFleetDoes(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	member := admin.add("b", map[string]string{"dockless.fleet": "blue", "dockless.capabilities": "camera", "dockless.gpu": "nvidia.com/gpu", "Agent.Name": "b", "rust": "/b", "dockless.platform": "linux/riscv64"})
	if err := admin.SetUserCapabilities(t.Context(), admin.pool, member.ID, map[string]string{"camera": "stereo", "byhand": "1"}); err != nil {
		t.Fatal(err)
	}
	admin.add("a", map[string]string{"dockless.fleet": "blue", "rust": "/a"})
	admin.add("other", map[string]string{"dockless.fleet": "red", "fortran": "1"})
	admin.add("foreign", map[string]string{"cobol": "1"})
	admin.add("old-template", map[string]string{"dockless.fleet": "blue", "dockless.placeholder": "true", "forgotten": "1"})
	p, err := placeholderOf(t, srv, offering("dockless.platform", "linux/arm64")).Placeholder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"dockless.gpu": "nvidia.com/gpu", "camera": "stereo", "rust": "/a", "dockless.platform": "linux/arm64", "Agent.Name": "template",
		"byhand": "", "fortran": "", "cobol": "", "forgotten": "", "dockless.capabilities": "",
	} {
		if got := p.Capabilities[name]; got != want {
			t.Errorf("capability %s = %q, want %q", name, got, want)
		}
	}
}

func TestAPlaceholderTakesNobodysPlace(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	stop := online(t, named(t, srv, "template"))
	_, err := placeholderOf(t, srv).Placeholder(t.Context())
	if err == nil || !strings.Contains(err.Error(), "online") || !strings.Contains(strings.Join(hint.All(err), ""), "AZP_AGENT_NAME") {
		t.Errorf("Placeholder: %v, want a refusal because of an agent that is online, with a hint", err)
	}
	id := srv.Queue(emulatortest.Script("true"))
	wantAgent(t, srv, id, "template") // it works on, with its key
	if err := stop(); err != nil {
		t.Error(err)
	}

	away := admin.add("template", map[string]string{"dockless.fleet": "blue"})
	if _, err := placeholderOf(t, srv).Placeholder(t.Context()); err == nil || !strings.Contains(err.Error(), "lose its key") {
		t.Errorf("Placeholder: %v, want a refusal because of an agent that is only away", err)
	}
	if err := admin.DeleteAgent(t.Context(), admin.pool, away.ID); err != nil {
		t.Fatal(err)
	}
	admin.add("template", map[string]string{"dockless.fleet": "red", "dockless.placeholder": "true"})
	if _, err := placeholderOf(t, srv).Placeholder(t.Context()); err == nil || !strings.Contains(err.Error(), `fleet "red"`) {
		t.Errorf("Placeholder: %v, want a refusal because of another fleet's", err)
	}
}

func TestAPlaceholderIsBroughtUpToDateAndStaysDisabled(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	old := admin.add("template", map[string]string{"Agent.OS": "Windows_NT", "old": "1", "dockless.fleet": "blue", "dockless.placeholder": "true"})
	disabled := false
	old.Enabled = &disabled
	old.Authorization.PublicKey = admin.key
	if _, err := admin.ReplaceAgent(t.Context(), admin.pool, old); err != nil {
		t.Fatal(err)
	}
	p, err := placeholderOf(t, srv).Placeholder(t.Context())
	if err != nil || p.Action != "updated" || p.ID != old.ID || p.Enabled {
		t.Errorf("Placeholder = %+v, %v, want agent %d updated and still disabled", p, err, old.ID)
	}
	if _, kept := p.Capabilities["old"]; kept {
		t.Error("a capability that nobody offers any more is kept")
	}
	if reaped, err := reaper(t, srv, srv.URL).Reap(t.Context(), agent.ReapOptions{OfflineFor: -time.Hour}); err != nil || len(reaped) > 0 {
		t.Errorf("Reap = %v, %v, want the placeholder to stay", reaped, err)
	}
}

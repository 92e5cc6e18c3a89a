package agent_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// online starts an agent and returns once its session is open.
func online(t *testing.T, c agent.Config, change ...func(*agent.Deps)) (stop func() error) {
	t.Helper()
	opened := make(chan bool, 8)
	change = append(change, func(d *agent.Deps) { d.Health.Ready = func(open bool) { opened <- open } })
	stop = started(t, newAgent(t, c, records(succeed), change...))
	select {
	case <-opened:
	case <-time.After(20 * time.Second):
		t.Fatal("no session within 20 s")
	}
	return stop
}

// named is config for an agent of another name.
func named(t *testing.T, srv *emulatortest.Server, name string, change ...func(*agent.Config)) agent.Config {
	t.Helper()
	c := config(t, srv)
	c.Name = name
	for _, f := range change {
		f(&c)
	}
	return c
}

func offering(name, value string) func(*agent.Deps) {
	return func(d *agent.Deps) { d.Capabilities = map[string]string{name: value} }
}

// wantWaiting fails when a job does not stay where it is.
func wantWaiting(t *testing.T, srv *emulatortest.Server, id job.ID) {
	t.Helper()
	time.Sleep(200 * time.Millisecond) // an idle agent takes a job within milliseconds
	if status, err := srv.Job(id); err != nil || status.State != emulator.Queued {
		t.Errorf("the job is %s (%v), want it to wait for an agent that meets its demands", status.State, err)
	}
}

func wantAgent(t *testing.T, srv *emulatortest.Server, id job.ID, name string) {
	t.Helper()
	if status := wantResult(t, srv, id, job.Succeeded); status.Agent != name {
		t.Errorf("the job ran on %q, want %q", status.Agent, name)
	}
}

func TestADemandForAPlatformFindsTheAgentThatHasIt(t *testing.T) {
	srv := emulatortest.New(t)
	online(t, named(t, srv, "server"), offering("dockless.platform", "linux/amd64"))
	id := srv.Queue(emulatortest.Script("true"), "dockless.platform -equals linux/arm64")
	wantWaiting(t, srv, id)
	online(t, named(t, srv, "jetson"), offering("dockless.platform", "linux/arm64"))
	wantAgent(t, srv, id, "jetson")
}

func TestDemandsOfAPipelineFindTheAgentThatMeetsThem(t *testing.T) {
	srv := emulatortest.New(t)
	online(t, named(t, srv, "server"), offering("dockless.platform", "linux/amd64"))
	run, err := srv.QueuePipeline(t.Context(), []byte(`
pool:
  name: Default
  demands:
  - dockless.platform -equals linux/arm64
  - dockless.gpu
steps:
- bash: nvidia-smi
`), emulator.Pipeline{})
	if err != nil {
		t.Fatal(err)
	}
	id := run.Jobs[0].ID
	wantWaiting(t, srv, id)
	online(t, named(t, srv, "jetson"), func(d *agent.Deps) {
		d.Capabilities = map[string]string{"dockless.platform": "linux/arm64", "dockless.gpu": "nvidia.com/gpu"}
	})
	wantAgent(t, srv, id, "jetson")
}

func TestADemandForAUserCapabilityFindsTheAgentWhoseSettingsNameIt(t *testing.T) {
	srv := emulatortest.New(t)
	online(t, named(t, srv, "plain"))
	id := srv.Queue(emulatortest.Script("true"), "camera -equals stereo", "bench")
	wantWaiting(t, srv, id)
	online(t, named(t, srv, "robot", func(c *agent.Config) { c.Capabilities = []string{"camera=stereo", "bench"} }))
	wantAgent(t, srv, id, "robot")
}

func TestEnvironmentToolsFileAndOurOwnAreOfferedInThisOrder(t *testing.T) {
	srv := emulatortest.New(t)
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{".capabilities": "# by hand\nSHELF = 7\nrake=/by/hand\nAgent.OS=Plan9\ndockless.gpu=none\nno value\n", "ruby": "", "rake": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	c := config(t, srv)
	c.Environment, c.Fleet = true, "blue"
	online(t, c, func(d *agent.Deps) {
		d.Environment = []string{"HOME=/home/x", "RUBY=/from/environment", "shelf=1", "dockless.fleet=red", "NOTE=it is sesame", "API_KEY=k"}
		d.Capabilities = map[string]string{"dockless": "1.0"}
		d.Mask = func(text string) string { return strings.ReplaceAll(text, "sesame", "***") }
	})
	got := administratorOf(t, srv).find("build-01").SystemCapabilities
	for _, own := range []string{"Agent.ComputerName", "Agent.OSArchitecture"} {
		if got[own] == "" {
			t.Errorf("there is no %s", own)
		}
		delete(got, own)
	}
	want := map[string]string{
		"HOME": "/home/x", "NOTE": "it is ***", "ruby": filepath.Join(dir, "ruby"), "SHELF": "7", "rake": "/by/hand",
		"Agent.Name": "build-01", "Agent.Version": agent.Version, "Agent.OS": "Linux", "InteractiveSession": "False", "Agent.HomeDirectory": dir,
		"dockless": "1.0", "dockless.fleet": "blue",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
}

func TestTheEnvironmentCanBeKeptBack(t *testing.T) {
	srv := emulatortest.New(t)
	online(t, config(t, srv), func(d *agent.Deps) { d.Environment = []string{"HOME=/home/x"} })
	if _, ok := administratorOf(t, srv).find("build-01").SystemCapabilities["HOME"]; ok {
		t.Error("a variable is offered although the settings say no")
	}
}

// An agent that did not unregister finds its registration again.
func TestUserCapabilitiesFollowTheSettingsAndLeaveThoseOfPeopleAlone(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	old := admin.add("build-01", map[string]string{"dockless.capabilities": "ours,gone", "dockless.placeholder": "true"})
	if err := admin.SetUserCapabilities(t.Context(), admin.pool, old.ID, map[string]string{"theirs": "1", "OURS": "old", "gone": "x", "shared": "people"}); err != nil {
		t.Fatal(err)
	}
	var puts atomic.Int32
	address := proxied(t, srv, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/usercapabilities") {
			puts.Add(1)
		}
		return false
	})
	for i, step := range []struct {
		name    string
		setting []string
		want    map[string]string
		puts    int32
	}{
		{"settings win and what they dropped goes", []string{"ours=new", "shared=settings"}, map[string]string{"theirs": "1", "ours": "new", "shared": "settings"}, 1},
		{"nothing changes and nothing is sent", []string{"ours=new", "shared=settings"}, map[string]string{"theirs": "1", "ours": "new", "shared": "settings"}, 1},
		{"without settings only theirs are left", nil, map[string]string{"theirs": "1"}, 2},
	} {
		c := named(t, srv, "build-01", func(c *agent.Config) { c.URL, c.Capabilities = address, step.setting })
		p, err := newAgent(t, c, nil).Placeholder(t.Context()) // registers, and leaves the agent there
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		got := admin.find("build-01").UserCapabilities
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%d, %s: user capabilities (-want +got):\n%s", i, step.name, diff)
		}
		if diff := cmp.Diff(step.want, p.UserCapabilities); diff != "" {
			t.Errorf("%s: reported (-want +got):\n%s", step.name, diff)
		}
		if n := puts.Load(); n != step.puts {
			t.Errorf("%s: %d requests set user capabilities so far, want %d", step.name, n, step.puts)
		}
	}
}

// Between two registrations a removal must not be forgotten because it failed.
func TestARemovalThatFailedIsTriedAgain(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	old := admin.add("build-01", map[string]string{"dockless.capabilities": "gone"})
	if err := admin.SetUserCapabilities(t.Context(), admin.pool, old.ID, map[string]string{"gone": "x"}); err != nil {
		t.Fatal(err)
	}
	var denied atomic.Bool
	denied.Store(true)
	address := proxied(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
		return denied.Load() && strings.HasSuffix(r.URL.Path, "/usercapabilities") && refuse(w, http.StatusForbidden, "AccessDeniedException")
	})
	c := named(t, srv, "build-01", func(c *agent.Config) { c.URL = address })
	err := newAgent(t, c, records(succeed)).Run(t.Context())
	if err == nil {
		t.Fatal("Run succeeds although the user capabilities could not be set")
	}
	if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, "Administrator") || !strings.Contains(hints, "DOCKLESS_CAPABILITIES") {
		t.Errorf("hints = %q, want the role and the setting", hints)
	}
	denied.Store(false)
	online(t, c)
	if got := admin.find("build-01").UserCapabilities; len(got) > 0 {
		t.Errorf("user capabilities = %v, want none", got)
	}
}

func TestANewRegistrationForgetsWhatIsOursAndNoLongerTrue(t *testing.T) {
	srv := emulatortest.New(t)
	admin := administratorOf(t, srv)
	admin.add("build-01", map[string]string{"dockless.gpu": "nvidia.com/gpu", "dockless.placeholder": "true", "theirs": "1"})
	stop := make(chan map[string]string, 1)
	address := proxied(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "oauth2") {
			select {
			case stop <- admin.find("build-01").SystemCapabilities: // registered, and no session yet
			default:
			}
		}
		return false
	})
	online(t, named(t, srv, "build-01", func(c *agent.Config) { c.URL = address }))
	names := slices.Collect(maps.Keys(<-stop))
	for _, ours := range []string{"dockless.gpu", "dockless.placeholder"} {
		if slices.Contains(names, ours) {
			t.Errorf("%s of an earlier registration is kept", ours)
		}
	}
	if !slices.Contains(names, "theirs") {
		t.Error("what is not ours was removed")
	}
}

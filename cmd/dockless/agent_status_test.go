package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/internal/recent"
	"github.com/dockless-ci/dockless/internal/statuspage"
	"github.com/dockless-ci/dockless/probe"
)

func TestARunThatIsNamedByASecretHasNoName(t *testing.T) {
	m := &job.Message{Variables: map[string]job.Variable{
		"system.definitionName": {Value: "shop"}, "build.buildNumber": {Value: "v1-hunter2"}, "key": {Value: "hunter2"},
	}}
	if got := pipelineOf(m); got != "shop v1-hunter2" {
		t.Errorf("the run is named %q", got)
	}
	m.Variables["key"] = job.Variable{Value: "hunter2", IsSecret: true}
	if got := pipelineOf(m); got != "" {
		t.Errorf("the run is named %q", got)
	}
}

func TestContainersOfLongAgoAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGlancing(nil, "a1")
		g.saw([]statuspage.Stack{{Name: "of the job"}})
		for _, c := range []struct {
			later time.Duration
			want  int
		}{{0, 1}, {25 * time.Second, 1}, {2 * time.Hour, 0}} {
			time.Sleep(c.later)
			if got := g.stacks(); len(got) != c.want {
				t.Errorf("%s later, %d stacks are shown, want %d", c.later, len(got), c.want)
			}
			if len(g.asked) != 1 {
				t.Errorf("%s later, Podman is not asked again", c.later)
			}
		}
	})
}

func TestThePageOfAnAgentShowsItsLoopsAndItsJob(t *testing.T) {
	file := filepath.Join(t.TempDir(), "probe")
	page, err := probe.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := page.Slot("poll", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	slot.Set(probe.Ready, probe.ReasonIdle)
	s := &agentSettings{settings.All{Status: statuspage.Config{Access: statuspage.Loopback}}}
	s.Agent.Name, s.Agent.Pool, s.Job.ProbeFile = "a1", "Default", file
	states := &agentStates{metrics: metrics.New("1"), state: metrics.Offline}
	source := &agentSource{Jobs: recent.New(), settings: s, states: states, podman: newGlancing(nil, "a1")}
	pages := s.pages(t.Context(), source, states.metrics)
	look := func(path, host, from string) (int, string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Host, r.RemoteAddr = host, from
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	states.change(func() { states.open = true })
	source.Begin(&job.Message{JobID: "j", RequestID: 7}, "a1", "Default", "shop 7")
	code, text := look("/", "localhost", "127.0.0.1:5")
	for _, want := range []string{"Agent a1", "idle", "poll", "1 slot: poll ", `href="/jobs/7"`, "shop 7"} {
		if code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("the page answers %d without %q:\n%s", code, want, text)
		}
	}
	// Prometheus goes on to reach the metrics, which the page has nothing to do with.
	if code, text := look("/metrics", "10.0.0.8:9464", "10.0.0.7:5"); code != http.StatusOK || !strings.Contains(text, "dockless_agent_state") {
		t.Errorf("metrics answer %d from elsewhere", code)
	}
	if code, text := look("/", "10.0.0.8:9464", "10.0.0.7:5"); code != http.StatusForbidden || strings.Contains(text, "a1") {
		t.Errorf("the page answers %d from elsewhere: %s", code, text)
	}
	if err := page.Close(); err != nil {
		t.Fatal(err)
	}
	if _, text := look("/", "localhost", "127.0.0.1:5"); !strings.Contains(text, "✕") {
		t.Errorf("without a probe page everything is well:\n%s", text)
	}
	s.Status.Access = statuspage.Off
	pages = s.pages(t.Context(), source, states.metrics)
	if code, text := look("/", "localhost", "127.0.0.1:5"); code != http.StatusOK || strings.Contains(text, "a1") || !strings.Contains(text, `href="/metrics"`) {
		t.Errorf("a page that is off answers %d: %s", code, text)
	}
}

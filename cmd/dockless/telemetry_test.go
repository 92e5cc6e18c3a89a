package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/internal/telemetry/otlptest"
)

func TestTheStateInTheMetricsFollowsTheLoopsOfTheAgent(t *testing.T) {
	m := metrics.New("1")
	var calls int
	h := (&agentStates{metrics: m}).observe(agent.Health{
		Lock: func(bool) { calls++ }, Ready: func(bool) { calls++ }, Draining: func() { calls++ },
	})
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"at the start", func() {}, "offline"},
		{"with a session", func() { h.Ready(true) }, "idle"},
		{"with a job", func() { h.Lock(true) }, "busy"},
		{"with a job, while the session is away", func() { h.Ready(false) }, "busy"},
		{"after the job", func() { h.Ready(true); h.Lock(false) }, "idle"},
		{"without a session", func() { h.Ready(false) }, "offline"},
		{"while it drains", func() { h.Draining(); h.Lock(true) }, "draining"},
	} {
		step.do()
		w := httptest.NewRecorder()
		m.Pages().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		now := regexp.MustCompile(`dockless_agent_state{state="(\w+)"} 1`).FindAllStringSubmatch(w.Body.String(), -1)
		if len(now) != 1 || now[0][1] != step.want {
			t.Errorf("%s: the agent is %q, want %s", step.what, now, step.want)
		}
	}
	if calls != 8 {
		t.Errorf("the hooks below were called %d times, want 8", calls)
	}
}

// Such a process has the secrets of the job on its command line, but not the masks.
func TestWhatAStepOfAJobStartsSendsNoTexts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipeline.yml")
	if err := os.WriteFile(file, []byte("steps:\n- checkout: none\n- bash: echo $(word) >&2; exit 1\n  displayName: say $(word)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		variable string
		withheld bool
	}{"a person": {"A=b", false}, "a job of this agent": {"DOCKLESS_JOB=9e2c7d34", true}, "a job of another": {"TF_BUILD=True", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := otlptest.Start(t)
			cmd := exec.CommandContext(t.Context(), "dockless", "replay", "--output", "plain", "--var", "word=hunter2", file)
			cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "DOCKLESS_") || strings.HasPrefix(e, "TF_BUILD=") }),
				"HOME="+t.TempDir(), "XDG_STATE_HOME=", "DOCKLESS_PODMAN=no-such-podman", "OTEL_EXPORTER_OTLP_ENDPOINT="+c.HTTP, test.variable)
			if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 1 {
				t.Fatalf("%v\n%s", err, out)
			}
			var said strings.Builder
			for _, s := range c.Spans() {
				fmt.Fprintln(&said, s.Name, s.Reason, s.Attributes)
			}
			if got := strings.Contains(said.String(), "hunter2"); len(c.Spans()) == 0 || got == test.withheld {
				t.Errorf("the spans have what is on the command line: %t, want %t:\n%s", got, !test.withheld, said.String())
			}
		})
	}
}

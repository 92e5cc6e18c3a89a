package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

func TestAJobIsAccountedForHoweverItEnds(t *testing.T) {
	for name, c := range map[string]struct {
		around  func(agent.JobFunc) agent.JobFunc
		change  func(*agentSettings)
		started func(*taskStage, job.ID)
		want    job.Result
		ran     string // jobs whose duration is known
	}{
		"it succeeds": {want: job.Succeeded, ran: "1"},
		"it panics": {
			around: func(run agent.JobFunc) agent.JobFunc {
				return func(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
					c.Reporter = nil
					return run(ctx, m, c)
				}
			},
			want: job.Failed, ran: "1",
		},
		"it cannot begin":    {change: func(s *agentSettings) { s.Runner.NativeTasks = "perhaps" }, want: job.Failed, ran: "0"},
		"its lock gets lost": {started: func(s *taskStage, id job.ID) { s.LoseLock(id) }, want: job.Abandoned, ran: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.around == nil {
				c.around = func(run agent.JobFunc) agent.JobFunc { return run }
			}
			if c.change == nil {
				c.change = func(*agentSettings) {}
			}
			s := startTaskStageWith(t, c.around, c.change)
			id := s.Queue(emulatortest.Script("true"))
			if c.started != nil {
				s.WhenStarted(id, func(id job.ID) { c.started(s, id) })
			}
			select {
			case got := <-s.ended:
				if got != c.want {
					t.Errorf("it ended as %s, want %s", got, c.want)
				}
			case <-time.After(time.Minute):
				t.Fatal("it did not end within a minute")
			}
			shown, ok := s.jobs.recent.Job(string(id))
			if !ok || shown.Open() || shown.Result != string(c.want) || shown.Finished.IsZero() {
				t.Errorf("the page shows %+v, want it %s", shown, c.want)
			}
			w := httptest.NewRecorder()
			s.jobs.shop.metrics.Pages().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
			for _, want := range []string{`dockless_jobs_total{result="` + string(c.want) + `"} 1`, "dockless_job_duration_seconds_count " + c.ran} {
				if !strings.Contains(w.Body.String(), want+"\n") {
					t.Errorf("the metrics lack %q:\n%s", want, w.Body)
				}
			}
		})
	}
}

package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// badWeather stands in front of a server and breaks every nth request of a job,
// in turn: refused by a gateway, answered by one after the server carried it
// out, and reset then.
func badWeather(t *testing.T, srv *emulatortest.Server, nth int64) (address string) {
	t.Helper()
	target, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the addresses that the server names lead through here too
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	var n atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/plans/") {
			proxy.ServeHTTP(w, r)
			return
		}
		k := n.Add(1)
		if k%nth != 0 {
			proxy.ServeHTTP(w, r)
			return
		}
		kind := k / nth % 3
		if kind > 0 {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
		}
		if kind == 1 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// Every fourth request of the job fails. Each line is in the log of its step and
// in that of the job.
func TestAJobInBadWeatherIsReportedWhole(t *testing.T) {
	srv := emulatortest.New(t)
	c := config(t, srv)
	c.URL = badWeather(t, srv, 4)
	const steps, lines = 10, 40
	m := emulatortest.Script(slices.Repeat([]string{"true"}, steps)...)
	id := srv.Queue(m)
	own := m.JobID.Record()
	a := newAgent(t, c, func(_ context.Context, _ *job.Message, c agent.Conn) (job.Result, error) {
		now := job.At(time.Now())
		c.Reporter.UpdateRecord(job.Record{ID: own, Type: job.TypeJob, Name: "Job", RefName: "job", State: job.InProgress, StartTime: &now, Attempt: 1})
		for i, step := range m.Steps {
			c.Reporter.UpdateRecord(job.Record{ID: step.ID, ParentID: own, Type: job.TypeTask, Name: fmt.Sprint("step ", i), RefName: fmt.Sprint("step", i), Order: i + 1, State: job.Pending, Attempt: 1})
		}
		for _, step := range m.Steps {
			id := step.ID
			c.Reporter.UpdateRecord(job.Record{ID: id, State: job.InProgress, StartTime: &now})
			for k := range lines {
				c.Reporter.WriteLine(id, fmt.Appendf(nil, "line %d", k))
			}
			c.Reporter.UpdateRecord(job.Record{ID: id, State: job.Completed, Result: job.Succeeded, FinishTime: &now, PercentComplete: 100})
		}
		c.Reporter.UpdateRecord(job.Record{ID: own, State: job.Completed, Result: job.Succeeded, FinishTime: &now, PercentComplete: 100})
		return job.Succeeded, nil
	})
	a.SetCompletion(time.Minute)
	started(t, a)
	wantResult(t, srv, id, job.Succeeded)
	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range report.Records {
		if !strings.HasPrefix(r.Name, "step ") {
			continue
		}
		seen++
		if len(r.Log) != lines || r.Result != job.Succeeded {
			t.Errorf("%s is %s with %d lines, want succeeded with %d", r.Name, r.Result, len(r.Log), lines)
			continue
		}
		for k, line := range r.Log {
			if line != fmt.Sprint("line ", k) {
				t.Fatalf("%s has %q where line %d is due", r.Name, line, k)
			}
		}
	}
	total := 0
	err = srv.EachLogLine(id, own, func(line string) error {
		if want := fmt.Sprint("line ", total%lines); line != want {
			return fmt.Errorf("the job's log has %q where %q is due", line, want)
		}
		total++
		return nil
	})
	if err != nil || seen != steps || total != steps*lines {
		t.Errorf("%d steps, and %d lines in the job's log (%v), want %d and %d", seen, total, err, steps, steps*lines)
	}
}

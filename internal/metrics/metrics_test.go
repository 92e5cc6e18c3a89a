package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns what Prometheus would read.
func scrape(t *testing.T, m *metrics.Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.Pages().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics answers %d: %s", w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// values are the samples of our own counters and gauges as name{label} → value, and
// the counts of histograms.
func values(families map[string]*dto.MetricFamily) map[string]float64 {
	out := make(map[string]float64)
	for name, f := range families {
		if !strings.HasPrefix(name, "dockless_") {
			continue
		}
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += fmt.Sprintf("{%s}", l.GetValue())
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				out[key] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				out[key] = m.GetGauge().GetValue()
			case dto.MetricType_HISTOGRAM:
				out[key] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return out
}

// filled returns metrics of which every one has a value.
func filled() *metrics.Metrics {
	m := metrics.New("1.2.3")
	m.AgentState(metrics.Busy)
	m.JobWaited(time.Second)
	m.JobRan(time.Minute)
	m.JobEnded(job.Succeeded)
	m.JobRan(time.Second)
	m.JobEnded(job.Failed)
	m.JobEnded(job.Abandoned)
	m.Build(imagebuild.Event{Build: &imagebuild.Result{Stats: imagebuild.Stats{Steps: 5, Cached: 3}}, Took: 2 * time.Second})
	m.Build(imagebuild.Event{Err: errors.New("no")})
	m.Build(imagebuild.Event{Err: fmt.Errorf("building: %w", &job.Stop{Reason: job.StopCanceled})})
	m.Build(imagebuild.Event{Export: &imagebuild.CacheExport{Duration: 3 * time.Second, Waited: time.Second, Bytes: 70}})
	m.Build(imagebuild.Event{Export: &imagebuild.CacheExport{Duration: time.Second, Bytes: 7, Err: errors.New("no")}, Err: errors.New("no")})
	m.Build(imagebuild.Event{Export: &imagebuild.CacheExport{Err: errors.New("dead")}, Err: errors.New("dead")})
	m.Build(imagebuild.Event{Export: &imagebuild.CacheExport{Skipped: "not worth it"}})
	m.Exporting(1)
	m.Exporting(1)
	m.Exporting(-1)
	m.NodeUp("dockless0", true)
	m.NodeUp("dockless1", false)
	m.NodeDisk("dockless0", 70, 100, time.Unix(1000, 0))
	m.NodeDisk("dockless1", 7, 50, time.Unix(500, 0))
	m.NodeDisk("dockless1", 7, 0, time.Unix(1000, 0)) // it has lost its bound
	return m
}

func TestWhatHappensIsCounted(t *testing.T) {
	want := map[string]float64{
		"dockless_build_info{1.2.3}":    1,
		"dockless_agent_state{offline}": 0, "dockless_agent_state{idle}": 0, "dockless_agent_state{busy}": 1, "dockless_agent_state{draining}": 0,
		"dockless_jobs_total{succeeded}": 1, "dockless_jobs_total{failed}": 1, "dockless_jobs_total{canceled}": 0, "dockless_jobs_total{succeededWithIssues}": 0, "dockless_jobs_total{abandoned}": 1,
		"dockless_job_wait_seconds": 1, "dockless_job_duration_seconds": 2,
		"dockless_builds_total{succeeded}": 1, "dockless_builds_total{failed}": 1, "dockless_builds_total{canceled}": 1,
		"dockless_build_duration_seconds":  1,
		"dockless_build_steps_total{true}": 3, "dockless_build_steps_total{false}": 2,
		"dockless_cache_exports_total{succeeded}": 1, "dockless_cache_exports_total{failed}": 2, "dockless_cache_exports_total{canceled}": 0, "dockless_cache_exports_total{skipped}": 1,
		"dockless_cache_export_duration_seconds": 2, "dockless_cache_export_wait_seconds": 2,
		"dockless_cache_export_bytes_total": 77, "dockless_cache_export_queue": 1,
		"dockless_builder_node_up{dockless0}": 1, "dockless_builder_node_up{dockless1}": 0,
		"dockless_builder_disk_used_bytes{dockless0}": 70, "dockless_builder_disk_used_bytes{dockless1}": 7,
		"dockless_builder_disk_ceiling_bytes{dockless0}":             100,
		"dockless_builder_disk_checked_timestamp_seconds{dockless0}": 1000, "dockless_builder_disk_checked_timestamp_seconds{dockless1}": 1000,
	}
	if diff := cmp.Diff(want, values(scrape(t, filled()))); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestEveryMetricIsDescribedAndEveryDescribedOneIsThere(t *testing.T) {
	described := make(map[string]string) // name → type
	for _, d := range metrics.Described() {
		described["dockless_"+d.Name] = string(d.Kind)
	}
	there := make(map[string]string)
	for name, f := range scrape(t, filled()) {
		if strings.HasPrefix(name, "dockless_") {
			there[name] = strings.ToLower(f.GetType().String())
		}
	}
	if diff := cmp.Diff(there, described); diff != "" {
		t.Errorf("what is described (-there +described):\n%s", diff)
	}
}

func TestLabelsHaveTheValuesThatAreDescribed(t *testing.T) {
	there := scrape(t, filled())
	for _, d := range metrics.Described() {
		for _, m := range there["dockless_"+d.Name].GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
				if d.Values != nil && !slices.Contains(d.Values, l.GetValue()) {
					t.Errorf("%s has %s %q, want one of %q", d.Name, l.GetName(), l.GetValue(), d.Values)
				}
			}
			if want := strings.Fields(d.Label); !slices.Equal(labels, want) {
				t.Errorf("%s has labels %q, want %q", d.Name, labels, want)
			}
		}
	}
}

func TestNamesFollowTheConventions(t *testing.T) {
	for name, f := range scrape(t, filled()) {
		if !strings.HasPrefix(name, "dockless_") {
			continue
		}
		if isCounter := f.GetType() == dto.MetricType_COUNTER; isCounter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, f.GetType())
		}
		if regexp.MustCompile(`_(milli|micro|minute|hour|kilo|mega|kb|mb|gb|percent|ms)`).MatchString(name) {
			t.Errorf("%s is not in a base unit", name)
		}
		if f.GetType() == dto.MetricType_HISTOGRAM && !strings.HasSuffix(name, "_seconds") {
			t.Errorf("%s has no base unit", name)
		}
		if !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("the help of %s is no sentence: %q", name, f.GetHelp())
		}
	}
}

func TestNilMetricsCountNothing(t *testing.T) {
	var m *metrics.Metrics
	m.AgentState(metrics.Idle)
	m.JobWaited(1)
	m.JobRan(1)
	m.JobEnded(job.Succeeded)
	m.Build(imagebuild.Event{})
	m.Exporting(1)
	m.NodeUp("a", true)
	m.NodeDisk("a", 1, 1, time.Now())
}

// serve runs a server and returns its address.
func serve(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	s, err := metrics.Listen(t.Context(), metrics.Config{Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, m.Pages()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close after Run = %v", err)
		}
	})
	return s.Addr()
}

func get(t *testing.T, method, address string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestTheServerShowsThePagesAndNothingElse(t *testing.T) {
	addr := serve(t, filled())
	for request, want := range map[string]struct {
		code int
		text string
	}{
		"GET /metrics":      {200, "dockless_builds_total{result=\"failed\"} 1"},
		"GET /":             {200, `<a href="/metrics">`},
		"GET /debug/pprof/": {404, ""},
		"POST /metrics":     {405, ""},
		"DELETE /":          {405, ""},
	} {
		method, path, _ := strings.Cut(request, " ")
		if code, body := get(t, method, addr+path); code != want.code || !strings.Contains(body, want.text) {
			t.Errorf("%s answers %d %.200q, want %d with %q", request, code, body, want.code, want.text)
		}
	}
}

func TestAPortInUseIsToldWithAHint(t *testing.T) {
	addr := serve(t, metrics.New("1"))
	_, err := metrics.Listen(t.Context(), metrics.Config{Addr: addr}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "DOCKLESS_HTTP_ADDR") || len(hint.All(err)) != 1 {
		t.Errorf("Listen = %v with hints %q", err, hint.All(err))
	}
}

func TestWithoutAnAddressThereIsNoServer(t *testing.T) {
	s, err := metrics.Listen(t.Context(), metrics.Config{}, slog.New(slog.DiscardHandler))
	if s != nil || err != nil || s.Addr() != "" || s.Close() != nil || s.Run(t.Context(), nil) != nil {
		t.Errorf("Listen = %v, %v", s, err)
	}
	for _, bad := range []string{"9464", "localhost", "a:b:c", "host:"} {
		if err := (metrics.Config{Addr: bad}).Validate(); err == nil || len(hint.All(err)) == 0 {
			t.Errorf("Validate(%q) = %v, want an error with a hint", bad, err)
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	m := filled()
	before := slices.Sorted(maps.Keys(values(scrape(t, m))))
	for i := range 100 {
		m.Build(imagebuild.Event{Node: fmt.Sprint(i), Build: &imagebuild.Result{Names: []string{fmt.Sprint(i)}, Node: fmt.Sprint(i)}, Err: nil})
		m.Build(imagebuild.Event{Err: fmt.Errorf("error %d", i)})
	}
	if after := slices.Sorted(maps.Keys(values(scrape(t, m)))); len(after) != len(before) {
		t.Errorf("a hundred builds make %d series of %d", len(after), len(before))
	}
}

func BenchmarkScrape(b *testing.B) {
	m := filled()
	for range 1000 {
		m.Build(imagebuild.Event{Build: &imagebuild.Result{Stats: imagebuild.Stats{Steps: 5}}, Took: time.Second})
	}
	pages := m.Pages()
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

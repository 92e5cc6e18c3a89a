package metrics

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
)

// Values of the label "result" that are not an Azure DevOps result.
const (
	succeeded = "succeeded"
	failed    = "failed"
	canceled  = "canceled"
	skipped   = "skipped" // of a cache export that was not worth it
)

// State is what an agent does, as the label "state" has it.
type State string

// The states of an agent; it is in one of them.
const (
	Offline  State = "offline" // no session is open
	Idle     State = "idle"    // it waits for a job
	Busy     State = "busy"    // it has one
	Draining State = "draining"
)

var states = []State{Offline, Idle, Busy, Draining}

// Metrics are those of one process. Nil counts nothing. Methods may be called
// concurrently.
type Metrics struct {
	registry *prometheus.Registry

	state        *prometheus.GaugeVec
	jobs         *prometheus.CounterVec
	jobSeconds   prometheus.Histogram
	builds       *prometheus.CounterVec
	buildSeconds prometheus.Histogram
	steps        *prometheus.CounterVec
	exports      *prometheus.CounterVec
	exportTime   prometheus.Histogram
	exportWait   prometheus.Histogram
	exportBytes  prometheus.Counter
	exportQueue  prometheus.Gauge
	up           *prometheus.GaugeVec
	used         *prometheus.GaugeVec
	ceiling      *prometheus.GaugeVec
	looked       *prometheus.GaugeVec
}

// Bounds of the histograms, in seconds. Builds and jobs take from a second to
// hours; each bound is two to three times the one before.
var seconds = []float64{1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 3600, 7200}

// New makes the metrics of a program of this version.
func New(version string) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "dockless_" + name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dockless_" + name, Help: help}, labels)
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dockless_" + name, Help: help, Buckets: seconds})
	}
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		state:        gauge("agent_state", "1 for the state that the agent is in, 0 for the others.", "state"),
		jobs:         counter("jobs_total", "Jobs that ended, by their result.", "result"),
		jobSeconds:   histogram("job_duration_seconds", "How long jobs ran on this agent."),
		builds:       counter("builds_total", "Image builds that ended, by their result.", "result"),
		buildSeconds: histogram("build_duration_seconds", "How long builds that succeeded took, without the cache export."),
		steps:        counter("build_steps_total", "Steps that builds needed, by whether a cache had their result.", "cached"),
		exports:      counter("cache_exports_total", "Cache exports that ended, by their result.", "result"),
		exportTime:   histogram("cache_export_duration_seconds", "How long cache exports took, their waits included."),
		exportWait:   histogram("cache_export_wait_seconds", "How long cache exports waited for others to the same registry."),
		exportBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dockless_cache_export_bytes_total", Help: "Bytes that cache exports sent, as far as BuildKit tells.",
		}),
		exportQueue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dockless_cache_export_queue", Help: "Cache exports of this process that wait or run.",
		}),
		up:      gauge("builder_node_up", "1 while the node's buildkitd answers.", "node"),
		used:    gauge("builder_disk_used_bytes", "Size of the node's build cache.", "node"),
		ceiling: gauge("builder_disk_ceiling_bytes", "Size above which the node removes build cache; absent when it has no such bound.", "node"),
		looked:  gauge("builder_disk_checked_timestamp_seconds", "When the size of the node's build cache was asked for last.", "node"),
	}
	info := gauge("build_info", "1, with the version of the program.", "version")
	info.WithLabelValues(version).Set(1)
	m.registry.MustRegister(info, m.state, m.jobs, m.jobSeconds, m.builds, m.buildSeconds, m.steps, m.exports, m.exportTime,
		m.exportWait, m.exportBytes, m.exportQueue,
		m.up, m.used, m.ceiling, m.looked,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// Counters that are there from the start make rates right from the first event.
	for _, result := range []job.Result{job.Succeeded, job.SucceededWithIssues, job.Failed, job.Canceled} {
		m.jobs.WithLabelValues(string(result))
	}
	for _, result := range []string{succeeded, failed, canceled} {
		m.builds.WithLabelValues(result)
		m.exports.WithLabelValues(result)
	}
	m.exports.WithLabelValues(skipped)
	for _, cached := range []bool{true, false} {
		m.steps.WithLabelValues(strconv.FormatBool(cached))
	}
	m.AgentState(Offline)
	return m
}

// AgentState says what the agent does now.
func (m *Metrics) AgentState(now State) {
	if m == nil {
		return
	}
	for _, s := range states {
		value := 0.0
		if s == now {
			value = 1
		}
		m.state.WithLabelValues(string(s)).Set(value)
	}
}

// Job counts a job that ran on this agent. An empty result is a job of which it is
// not known; it counts as failed.
func (m *Metrics) Job(result job.Result, took time.Duration) {
	if m == nil {
		return
	}
	if result == "" {
		result = job.Failed
	}
	m.jobs.WithLabelValues(string(result)).Inc()
	m.jobSeconds.Observe(took.Seconds())
}

// Build counts what a builder tells of ([imagebuild.Options]).
func (m *Metrics) Build(e imagebuild.Event) {
	if m == nil {
		return
	}
	if e.Export != nil {
		m.export(e.Export)
		return
	}
	m.builds.WithLabelValues(resultOf(e.Err)).Inc()
	if e.Build == nil {
		return
	}
	m.buildSeconds.Observe(e.Took.Seconds())
	m.steps.WithLabelValues("true").Add(float64(e.Build.Stats.Cached))
	m.steps.WithLabelValues("false").Add(float64(e.Build.Stats.Steps - e.Build.Stats.Cached))
}

func (m *Metrics) export(e *imagebuild.CacheExport) {
	result := resultOf(e.Err)
	if e.Skipped != "" {
		result = skipped
	}
	m.exports.WithLabelValues(result).Inc()
	if e.Duration == 0 {
		return // none was tried
	}
	m.exportTime.Observe(e.Duration.Seconds())
	m.exportWait.Observe(e.Waited.Seconds())
	m.exportBytes.Add(float64(e.Bytes))
}

// Exporting counts cache exports that wait or run ([imagebuild.Options]): one more
// or one less.
func (m *Metrics) Exporting(delta int) {
	if m == nil {
		return
	}
	m.exportQueue.Add(float64(delta))
}

// resultOf tells what ended by somebody's wish from what failed.
func resultOf(err error) string {
	stop, stopped := errors.AsType[*job.Stop](err)
	switch {
	case err == nil:
		return succeeded
	case errors.Is(err, context.Canceled), stopped && stop != nil:
		return canceled
	}
	return failed
}

// NodeUp says whether a node of the builder answers.
func (m *Metrics) NodeUp(node string, up bool) {
	if m == nil {
		return
	}
	value := 0.0
	if up {
		value = 1
	}
	m.up.WithLabelValues(node).Set(value)
}

// NodeDisk says how large the build cache of a node is, and how large it may grow;
// zero is no bound that is known.
func (m *Metrics) NodeDisk(node string, used, ceiling int64, when time.Time) {
	if m == nil {
		return
	}
	m.used.WithLabelValues(node).Set(float64(used))
	if ceiling > 0 {
		m.ceiling.WithLabelValues(node).Set(float64(ceiling))
	}
	m.looked.WithLabelValues(node).Set(float64(when.Unix()))
}

package metrics

import (
	"context"
	"errors"
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
	jobWait      prometheus.Observer
	jobSeconds   prometheus.Observer
	builds       *prometheus.CounterVec
	buildSeconds prometheus.Observer
	steps        *prometheus.CounterVec
	exports      *prometheus.CounterVec
	exportTime   prometheus.Observer
	exportWait   prometheus.Observer
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
	counters, gauges, histograms := make(map[string]*prometheus.CounterVec), make(map[string]*prometheus.GaugeVec), make(map[string]prometheus.Observer)
	registry := prometheus.NewRegistry()
	for _, d := range Described() {
		var labels []string
		if d.Label != "" {
			labels = []string{d.Label}
		}
		switch d.Kind {
		case Counter:
			c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + d.Name, Help: d.Help}, labels)
			for _, value := range d.Values { // there from the start: that makes rates right from the first event
				c.WithLabelValues(value)
			}
			counters[d.Name] = c
			registry.MustRegister(c)
		case Gauge:
			gauges[d.Name] = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + d.Name, Help: d.Help}, labels)
			registry.MustRegister(gauges[d.Name])
		case Histogram:
			h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + d.Name, Help: d.Help, Buckets: seconds})
			histograms[d.Name] = h
			registry.MustRegister(h)
		}
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauges["build_info"].WithLabelValues(version).Set(1)
	m := &Metrics{
		registry: registry,
		state:    gauges["agent_state"],
		jobs:     counters["jobs_total"], jobWait: histograms["job_wait_seconds"], jobSeconds: histograms["job_duration_seconds"],
		builds: counters["builds_total"], buildSeconds: histograms["build_duration_seconds"], steps: counters["build_steps_total"],
		exports: counters["cache_exports_total"], exportTime: histograms["cache_export_duration_seconds"], exportWait: histograms["cache_export_wait_seconds"],
		exportBytes: counters["cache_export_bytes_total"].WithLabelValues(), exportQueue: gauges["cache_export_queue"].WithLabelValues(),
		up: gauges["builder_node_up"], used: gauges["builder_disk_used_bytes"], ceiling: gauges["builder_disk_ceiling_bytes"],
		looked: gauges["builder_disk_checked_timestamp_seconds"],
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

// JobWaited counts how long a job waited until this agent began it.
func (m *Metrics) JobWaited(wait time.Duration) {
	if m == nil {
		return
	}
	m.jobWait.Observe(wait.Seconds())
}

// JobRan counts how long a job ran on this agent.
func (m *Metrics) JobRan(took time.Duration) {
	if m == nil {
		return
	}
	m.jobSeconds.Observe(took.Seconds())
}

// JobEnded counts a job by the result that the server has.
func (m *Metrics) JobEnded(result job.Result) {
	if m == nil {
		return
	}
	m.jobs.WithLabelValues(string(result)).Inc()
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
	} else {
		m.ceiling.DeleteLabelValues(node) // it may have had one
	}
	m.looked.WithLabelValues(node).Set(float64(when.Unix()))
}

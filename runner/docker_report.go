package runner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/explain"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
)

// report sums the build up: in the log, on the record, in the report of the job
// and, where there is something to explain, as a summary of the run.
func (d *dockerStep) report(r *imagebuild.Result) {
	report := job.BuildReport{
		Step: d.step.Name, Digest: r.Digest.String(), Platforms: slices.Clone(r.Platforms),
		Steps: r.Stats.Steps, Cached: r.Stats.Cached, Reasons: make([]string, len(r.Reasons)), Seconds: r.Stats.Duration.Seconds(),
	}
	if report.Platforms == nil {
		report.Platforms = []string{}
	}
	for i, reason := range r.Reasons {
		report.Reasons[i] = reason.String()
	}
	report.Waterfall = waterfall(r)
	d.node.print(fmt.Sprintf("Built %s in %.1f s: %d of %d steps cached.", report.Digest, report.Seconds, report.Cached, report.Steps))
	if table := strings.TrimRight(explain.Table(r.Reasons), "\n"); table != "" {
		d.node.print(table)
	}
	if e := r.Export; e != nil && e.Err != nil {
		d.node.warning(fmt.Sprintf("The build cache was not written: %v", e.Err))
	}
	for _, note := range r.Notes() {
		d.node.print(note + ".")
	}
	d.x.mu.Lock()
	d.x.builds = append(d.x.builds, report)
	d.x.mu.Unlock()
	data, err := json.Marshal(report)
	if err != nil {
		panic(fmt.Sprintf("runner: writing a build report as JSON: %v", err)) // it has texts and numbers only
	}
	d.publish(job.AttachmentBuild, "build-"+uuid.NewString()+".json", data)
	name := "Build.md"
	if d.summaries++; d.summaries > 1 { // one of the same name would take its place
		name = fmt.Sprintf("Build_%d.md", d.summaries)
	}
	d.publish(job.AttachmentSummary, name, []byte(explain.Markdown(summaryOf(r))))
}

// waterfall lists the steps of a build that were needed: those that were cached,
// first one first, then the others as they began on BuildKit's clock, which tells
// of a step before it tells of what that builds on.
func waterfall(r *imagebuild.Result) []job.BuildStep {
	var began time.Time
	for _, s := range r.Steps {
		if s.Ran && (began.IsZero() || s.Started.Before(began)) {
			began = s.Started
		}
	}
	var cached, steps []job.BuildStep
	ran := 0
	for _, s := range r.Steps {
		if s.Base || !s.Ran && !s.Cached {
			continue
		}
		if !s.Ran {
			cached = append(cached, job.BuildStep{Name: s.Name, Cached: true})
			continue
		}
		step := job.BuildStep{Name: s.Name, Start: s.Started.Sub(began).Seconds(), Seconds: s.Duration.Seconds()}
		if ran < len(r.Reasons) { // there is one for each step that ran, or none at all
			step.Reason = r.Reasons[ran].Text
		}
		ran++
		steps = append(steps, step)
	}
	slices.Reverse(cached)
	slices.SortStableFunc(steps, func(a, b job.BuildStep) int { return cmp.Compare(a.Start, b.Start) })
	return append(cached, steps...)
}

func (d *dockerStep) publish(kind, name string, content []byte) {
	d.x.rep.Attach(d.ctx, d.node.record.ID, job.Attachment{Type: kind, Name: name, Content: d.x.masks.MaskBytes(content)})
}

// summaryOf is what the summary of a run shows of a build.
func summaryOf(r *imagebuild.Result) explain.Summary {
	s := explain.Summary{
		Names: r.Names, Digest: r.Digest.String(), Platforms: r.Platforms, Steps: r.Stats.Steps, Cached: r.Stats.Cached,
		Duration: r.Stats.Duration, Saved: r.Stats.Saved, Reasons: r.Reasons,
	}
	for _, p := range r.Parts {
		s.Nodes = append(s.Nodes, p.Node)
	}
	if e := r.Export; e != nil && e.Skipped == "" {
		out := explain.Export{Ref: e.Ref, Duration: e.Duration}
		if e.Err != nil {
			out.Failure = e.Err.Error()
		}
		s.Exports = append(s.Exports, out)
	}
	return s
}

package runner

import (
	"context"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/span"
)

// Attributes of our own. All others are OpenTelemetry's names for pipelines and
// repositories (its semantic conventions, "cicd" and "vcs").
const (
	spanResult = attribute.Key("dockless.result") // in the service's words
	spanTask   = attribute.Key("dockless.task")
)

// startSpan starts the span of the job, which began when it was queued, if that is
// known. Whatever is below it passes the masks of the job.
func (x *execution) startSpan(ctx context.Context) (context.Context, span.Span) {
	ctx = span.WithMask(ctx, x.masks.Mask)
	wait := x.cfg.Wait
	ctx, s := span.StartAt(ctx, "job", wait.Queued)
	if span.Recorded(ctx) {
		s.Set(x.spanAttributes()...)
	}
	if !wait.Queued.IsZero() {
		span.Add(ctx, span.Past{Name: "queued", Start: wait.Queued, End: wait.Assigned})
		span.Add(ctx, span.Past{Name: "assigned", Start: wait.Assigned, End: time.Now()})
	}
	return ctx, s
}

// spanAttributes say which job it is. What is not known is left out.
func (x *execution) spanAttributes() []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("cicd.pipeline.name", x.said("build.definitionName")),
		attribute.String("cicd.pipeline.run.id", x.said("build.buildId")),
		attribute.String("cicd.pipeline.run.url.full", x.runURL()),
		attribute.String("cicd.pipeline.task.name", x.m.JobDisplayName),
		attribute.String("cicd.pipeline.task.run.id", string(x.m.JobID)),
		attribute.String("cicd.worker.name", x.cfg.AgentName),
		attribute.String("dockless.plan", string(x.m.Plan.PlanID)),
		attribute.String("dockless.pool", x.said("agent.poolName")),
		attribute.String("dockless.run", x.said("build.buildNumber")),
		attribute.String("dockless.stage", x.said("system.stageName")),
		attribute.String("vcs.repository.name", x.said("build.repository.name")),
		attribute.String("vcs.repository.url.full", withoutUser(x.said("build.repository.uri"))),
		attribute.String("vcs.ref.head.name", x.said("build.sourceBranch")),
		attribute.String("vcs.ref.head.revision", x.said("build.sourceVersion")),
	}
	var known []attribute.KeyValue
	for _, a := range all {
		if a.Value.AsString() != "" {
			known = append(known, a)
		}
	}
	return known
}

// runURL is the page of the run.
func (x *execution) runURL() string {
	collection, project, id := x.said("system.collectionUri"), x.said("system.teamProject"), x.said("build.buildId")
	if collection == "" || project == "" || id == "" {
		return ""
	}
	return withoutUser(collection) + url.PathEscape(project) + "/_build/results?buildId=" + url.QueryEscape(id)
}

// withoutUser returns an address without the credentials in it.
func withoutUser(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// startSpan starts the span of a record below the job's.
func startSpan(ctx context.Context, name string) (context.Context, span.Span) {
	return span.Start(ctx, "step "+name, attribute.String("cicd.pipeline.task.name", name))
}

// startSpan starts the span of an entry.
func (e *entry) startSpan(ctx context.Context) (context.Context, span.Span) {
	ctx, s := startSpan(ctx, e.name)
	if reference := e.step.Reference; reference.Name != "" {
		s.Set(spanTask.String(reference.Name + "@" + reference.Version))
	}
	return ctx, s
}

// endSpan ends the span of what n is the record of. Its first error is the reason
// of a failure.
func endSpan(s span.Span, n *node, result job.Result) {
	s.Set(spanResult.String(string(result)))
	if result == job.Failed || result == job.Canceled {
		n.mu.Lock()
		reason := "the result is " + string(result)
		for _, i := range n.record.Issues {
			if i.Type == job.Error {
				reason = i.Message
				break
			}
		}
		n.mu.Unlock()
		s.Fail(strings.ReplaceAll(reason, "\r", ""))
	}
	s.End(nil)
}

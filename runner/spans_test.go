package runner_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/internal/telemetry/otlptest"
	"github.com/dockless-ci/dockless/runner"
)

// traced runs a job whose spans go to c.
func traced(t *testing.T, c *otlptest.Collector, cfg runner.Config, m *job.Message) (*recorder, runner.Outcome) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	on, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: c.HTTP}, log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := runner.New(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecorder()
	out, err := r.Run(on.Context(t.Context(), trace.SpanContext{}), m, rec)
	if err != nil {
		t.Fatal(err)
	}
	on.Stop(t.Context())
	return rec, out
}

func TestAJobIsATraceOfItsSteps(t *testing.T) {
	const secret = "correct-horse"
	m := message(
		script("one", "echo $TRACEPARENT"),
		script("skipped", "true", condition("failed()")),
		script("two", "echo '##vso[task.logissue type=error]no $(password) for you'; false"),
		script("three", "echo $TRACEPARENT; echo $TRACESTATE.", condition("always()"), func(s *job.Step) {
			s.Environment = map[string]string{"TRACEPARENT": "mine"}
		}),
	)
	for name, value := range map[string]string{
		"build.definitionName": "shop", "build.buildId": "17", "build.buildNumber": "20260101.1", "build.sourceBranch": "refs/heads/main",
		"build.repository.uri": "https://me:pass@example.com/shop.git", "system.collectionUri": "https://dev.azure.com/org/", "system.teamProject": "My Project",
	} {
		m.Variables[name] = job.Variable{Value: value}
	}
	m.Variables["password"] = job.Variable{Value: secret, IsSecret: true}
	cfg := config(t)
	cfg.Environment = append(cfg.Environment, "TRACEPARENT=of-the-agent")
	c := otlptest.Start(t)
	rec, out := traced(t, c, cfg, m)
	if got, want := c.Tree(), "job\n  step Finalize Job\n  step Initialize job\n  step one\n  step three\n  step two\n"; got != want {
		t.Errorf("spans:\n%swant:\n%s", got, want)
	}
	one := c.Find(t, "step one")
	if got := rec.output(t, "one"); len(got) != 1 || got[0] != "00-"+one.Trace+"-"+one.ID+"-01" {
		t.Errorf("step one sees %q, want its span %s of trace %s", got, one.ID, one.Trace)
	}
	if got := rec.output(t, "three"); len(got) != 2 || got[0] != "mine" || got[1] != "." {
		t.Errorf("a step that sets the variable sees %q", got)
	}
	if one.Failed || one.Attributes["dockless.task"] != "CmdLine@2.279.1" || one.Attributes["dockless.result"] != "succeeded" {
		t.Errorf("step one is %+v", one)
	}
	if two := c.Find(t, "step two"); !two.Failed || two.Reason != "no *** for you" || two.Attributes["dockless.result"] != "failed" {
		t.Errorf("step two is %+v", two)
	}
	root := c.Find(t, "job")
	if root.Parent != "" || !root.Failed || root.Attributes["dockless.result"] != string(out.Result) {
		t.Errorf("the job is %+v", root)
	}
	for name, want := range map[string]string{
		"cicd.pipeline.name": "shop", "cicd.pipeline.run.id": "17", "dockless.run": "20260101.1", "vcs.ref.head.name": "refs/heads/main",
		"vcs.repository.url.full": "https://example.com/shop.git", "cicd.worker.name": cfg.AgentName, "cicd.pipeline.task.run.id": string(m.JobID),
		"cicd.pipeline.run.url.full": "https://dev.azure.com/org/My%20Project/_build/results?buildId=17",
	} {
		if got := root.Attributes[name]; got != want {
			t.Errorf("the job's %s = %q, want %q", name, got, want)
		}
	}
	for _, s := range c.Spans() {
		for name, value := range s.Attributes {
			if strings.Contains(value, secret) {
				t.Errorf("the secret is in %s of %s", name, s.Name)
			}
		}
	}
}

func TestTheTraceOfAJobBeginsWhenItWasQueued(t *testing.T) {
	queued := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	cfg := config(t)
	cfg.Wait = job.Wait{Queued: queued, Assigned: queued.Add(50 * time.Second)}
	c := otlptest.Start(t)
	traced(t, c, cfg, message(script("one", "true")))
	if got, want := c.Tree(), "job\n  assigned\n  queued\n  step Finalize Job\n  step Initialize job\n  step one\n"; got != want {
		t.Errorf("spans:\n%swant:\n%s", got, want)
	}
	root, waiting, assigned := c.Find(t, "job"), c.Find(t, "queued"), c.Find(t, "assigned")
	if !root.Start.Equal(queued) || !waiting.Start.Equal(queued) || waiting.End.Sub(queued) != 50*time.Second || !assigned.Start.Equal(waiting.End) {
		t.Errorf("job %+v\nqueued %+v\nassigned %+v", root, waiting, assigned)
	}
	if first := c.Find(t, "step Initialize job"); first.Start.Before(assigned.End) || assigned.End.Sub(assigned.Start) < 10*time.Second {
		t.Errorf("assigned %+v\nInitialize job %+v", assigned, first)
	}
}

func TestWithoutTelemetryAStepSeesTheTraceOfWhoStartedTheAgent(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	cfg := config(t)
	cfg.Environment = append(cfg.Environment, "TRACEPARENT="+parent)
	rec, _ := run(t, cfg, message(script("one", "echo $TRACEPARENT")))
	if got := rec.output(t, "one"); len(got) != 1 || got[0] != parent {
		t.Errorf("the step sees %q, want %s", got, parent)
	}
}

func TestACanceledJobsSpansSayWhy(t *testing.T) {
	c := otlptest.Start(t)
	on, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: c.HTTP}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r, err := runner.New(config(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(on.Context(t.Context(), trace.SpanContext{}))
	rec := newRecorder()
	rec.onLine = func(_ job.Record, line string) {
		if line == "ready" {
			cancel(&job.Stop{Reason: job.StopLockLost, Message: "The job was given to somebody else."})
		}
	}
	if _, err := r.Run(ctx, message(script("one", "echo ready; sleep 60")), rec); err != nil {
		t.Fatal(err)
	}
	on.Stop(ctx)
	for _, name := range []string{"job", "step one"} {
		if s := c.Find(t, name); !s.Failed || s.Attributes["dockless.result"] != "canceled" || !strings.Contains(s.Reason, "given to somebody else") {
			t.Errorf("%s is %+v", name, s)
		}
	}
}

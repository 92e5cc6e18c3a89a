package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/internal/telemetry/otlptest"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

func TestABuildAndItsBuildkitdAreOneTrace(t *testing.T) {
	c := otlptest.Start(t)
	images := rig.NeedImages(t)
	registry := rig.NeedRegistry(t, rig.RegistryOptions{})
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{
		Mirror: images.Addr(), Insecure: []string{registry.Addr()},
		Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.GRPC, "OTEL_BSP_SCHEDULE_DELAY=100"},
	})
	setup := needBuilder(t, buildxsetup.Config{Hosts: daemon.Addr(), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	on, err := telemetry.Start(t.Context(), telemetry.Config{Endpoint: c.HTTP, ServiceName: "dockless"}, buildLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx := on.Context(t.Context(), trace.SpanContext{})
	var events []imagebuild.Event
	builder := imagebuild.New(setup, buildLog(t), imagebuild.Options{Observe: func(e imagebuild.Event) { events = append(events, e) }})
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo one > /one\n"})
	request := imagebuild.Request{Context: dir, Tags: []string{registry.Addr() + "/team/traced:1"}, Push: true}
	request.Cache.Repo, request.Cache.Branch = registry.Addr()+"/cache", "refs/heads/main"
	result, err := builder.Build(ctx, request, imagebuild.Progress{})
	if err != nil {
		t.Fatal(err)
	}
	broken := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN false\n"})
	if _, err := builder.Build(ctx, imagebuild.Request{Context: broken}, imagebuild.Progress{}); err == nil {
		t.Error("RUN false built")
	}
	on.Stop(ctx)

	build := c.Find(t, "build")
	if build.Attributes["container.image.id"] != result.Digest.String() || build.Attributes["dockless.steps"] != "1" || build.Attributes["dockless.node"] != "dockless0" {
		t.Errorf("the build is %+v", build)
	}
	tree := c.Tree()
	for _, want := range []string{"  solve\n", "    [2/2] RUN\n", "  export cache\n    solve\n", "    pushing layers\n"} {
		if !strings.Contains(tree, want) {
			t.Errorf("the tree lacks %q:\n%s", want, tree)
		}
	}
	if !slices.ContainsFunc(c.Spans(), func(s otlptest.Span) bool { return s.Name == "build" && s.Failed && s.Trace != build.Trace }) {
		t.Errorf("there is no failed build of another trace:\n%s", tree)
	}
	// buildkitd sends beside us, a tenth of a second later.
	var services []string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		services = nil
		for _, s := range c.Spans() {
			if s.Trace == build.Trace && !slices.Contains(services, s.Service) {
				services = append(services, s.Service)
			}
		}
		if len(services) > 1 {
			break
		}
	}
	if slices.Sort(services); !slices.Equal(services, []string{"buildkitd", "dockless"}) {
		t.Errorf("the trace of the build has spans of %q:\n%s", services, c.Tree())
	}
	if len(events) != 3 || events[0].Export == nil || events[1].Build == nil || events[2].Err == nil {
		t.Errorf("told of %+v, want an export, a build and a failure", events)
	}
}

func TestAnAgentSendsTracesAndShowsMetrics(t *testing.T) {
	const header = "pa55-word-of-the-collector"
	c := otlptest.Start(t)
	s := openStage(t, stage.Options{})
	agent := startAgent(t, s, stage.AgentOptions{Name: "traced", Env: []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.HTTP, "OTEL_EXPORTER_OTLP_HEADERS=authorization=" + header, "OTEL_BSP_SCHEDULE_DELAY=100",
		"DOCKLESS_HTTP_ADDR=127.0.0.1:0",
	}})
	sources := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo traced > /one\n"})
	const key = "key-of-the-job"
	m := scriptMessage("", map[string]job.Variable{"build.sourceBranch": {Value: "refs/heads/main"}, "key": {Value: key, IsSecret: true}}, nil)
	m.Resources.Endpoints = append(m.Resources.Endpoints, connection("R", "http://"+s.Registry.Addr(), "nobody", "nothing-to-hide"))
	m.Steps = []job.Step{
		bashStep("Type", "printf 'FROM busybox AS %s\nARG KEY\nRUN echo '$(key)'; exit 1\n' '$(key)' > typed; dockless build --build-arg KEY=$(key) -t shop:$(key) -f typed . 2>&1 && exit 1; exit 0"),
		bashStep("Copy", "cp -r "+sources+"/. .; echo parent $TRACEPARENT; env; tr '\\0' '\\n' </proc/$PPID/environ || true"),
		dockerStep("Build", map[string]string{"command": "buildAndPush", "containerRegistry": "R", "repository": "team/traced", "tags": "1", "Dockerfile": "Dockerfile"}),
	}
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Fatalf("the job ended as %s", r.Result)
	}
	figures := scrapeAgent(t, agent.Tail())
	for _, want := range []string{
		`dockless_builds_total{result="succeeded"} 1`, `dockless_build_steps_total{cached="false"} 1`, `dockless_jobs_total{result="succeeded"} 1`,
		`dockless_agent_state{state="idle"} 1`, `dockless_builder_node_up{node="dockless0"} 1`, `dockless_cache_exports_total{result="succeeded"} 1`,
		`dockless_job_wait_seconds_count 1`,
	} {
		if !strings.Contains(figures, want+"\n") {
			t.Errorf("the metrics lack %q:\n%s", want, ours(figures))
		}
	}
	if err := agent.Stop(t.Context()); err != nil {
		t.Errorf("stopping the agent: %v", err)
	}
	tree := c.Tree()
	for _, want := range []string{
		"job\n  assigned\n  queued\n  step ", "\n  step Copy\n", "\n  step Build\n    build\n", "\n      export cache\n        solve\n",
		"\n      solve\n", "\n        [2/2] RUN\n", "\n    push\n",
	} {
		if !strings.Contains(tree, want) {
			t.Errorf("the tree lacks %q:\n%s", want, tree)
		}
	}
	copied, root := c.Find(t, "step Copy"), c.Find(t, "job")
	for _, s := range c.Spans() {
		if s.Trace != root.Trace || s.Start.Before(root.Start) {
			t.Errorf("%s is of trace %s and began %s, the job is of %s and was queued %s", s.Name, s.Trace, s.Start, root.Trace, root.Start)
		}
	}
	// What a step starts knows no masks.
	typed := slices.IndexFunc(c.Spans(), func(s otlptest.Span) bool { return s.Name == "build" && s.Parent == c.Find(t, "step Type").ID })
	if typed < 0 || !c.Spans()[typed].Failed || !strings.Contains(tree, "\n        [2/2] RUN\n") {
		t.Errorf("the build that a step typed is not in its trace, or did not fail:\n%s", tree)
	}
	for _, s := range c.Spans() {
		if text := fmt.Sprint(s); strings.Contains(text, key) {
			t.Errorf("the secret of the job is in a span: %s", text)
		}
	}
	log := strings.Join(record(t, r, "Copy").Log, "\n")
	if want := "parent 00-" + root.Trace + "-" + copied.ID + "-01"; !strings.Contains(log, want) {
		t.Errorf("the step does not see %q:\n%s", want, log)
	}
	if strings.Contains(log, header) || strings.Contains(log, "OTEL_EXPORTER_OTLP_HEADERS=auth") {
		t.Errorf("the step sees the credentials of the collector:\n%s", log)
	}
	if got := c.Header("Authorization"); got != header {
		t.Errorf("the collector got %q", got)
	}
}

// scrapeAgent reads the metrics of the agent that wrote log.
func scrapeAgent(t *testing.T, log string) string {
	t.Helper()
	m := regexp.MustCompile(`"msg":"serving metrics","address":"([^"]+)"`).FindStringSubmatch(log)
	if m == nil {
		t.Fatalf("the agent does not say where its metrics are:\n%s", log)
	}
	// The agent tells Azure DevOps of the end of the job before it counts it.
	var figures string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+m[1]+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if figures = string(body); strings.Contains(figures, `dockless_agent_state{state="idle"} 1`) && strings.Contains(figures, `dockless_jobs_total{result="succeeded"} 1`) {
			break
		}
	}
	return figures
}

// ours are the lines of the metrics that are not of the Go runtime.
func ours(figures string) string {
	var out strings.Builder
	for line := range strings.Lines(figures) {
		if strings.HasPrefix(line, "dockless_") {
			out.WriteString(line)
		}
	}
	return out.String()
}

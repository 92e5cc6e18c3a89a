package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/internal/telemetry/otlptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, c telemetry.Config, log *slog.Logger) *telemetry.Telemetry {
	t.Helper()
	on, err := telemetry.Start(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	return on
}

func TestSpansReachTheCollectorByEitherProtocol(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c := otlptest.Start(t)
			config := telemetry.Config{Endpoint: c.HTTP, Protocol: protocol, ServiceName: "ci", Headers: mask.NewSecret("authorization=Bearer%20abc, x-team = blue")}
			if protocol == "grpc" {
				config.Endpoint = c.GRPC
			}
			on := start(t, config, slog.New(slog.DiscardHandler))
			ctx, job := span.Start(on.Context(t.Context(), trace.SpanContext{}), "job", attribute.String("k", "v"))
			_, step := span.Start(ctx, "step")
			step.End(errors.New("line one\nline two"))
			span.Add(ctx, span.Past{Name: "vertex", Start: time.Now().Add(-time.Second), End: time.Now()})
			job.End(nil)
			on.Stop(t.Context())
			if got, want := c.Tree(), "job\n  step\n  vertex\n"; got != want {
				t.Errorf("spans:\n%swant:\n%s", got, want)
			}
			if s := c.Find(t, "step"); !s.Failed || s.Reason != "line one" {
				t.Errorf("the failed step says %t, %q; want the error's first line", s.Failed, s.Reason)
			}
			if s := c.Find(t, "job"); s.Failed || s.Service != "ci" || s.Attributes["k"] != "v" {
				t.Errorf("the job is %+v", s)
			}
			if protocol != "grpc" && (c.Header("Authorization") != "Bearer abc" || c.Header("X-Team") != "blue") {
				t.Errorf("headers = %q, %q", c.Header("Authorization"), c.Header("X-Team"))
			}
		})
	}
}

func TestNothingIsStartedWhenNothingIsAskedFor(t *testing.T) {
	c := otlptest.Start(t)
	before := runtime.NumGoroutine()
	for name, config := range map[string]telemetry.Config{
		"no setting":      {},
		"no exporter":     {Endpoint: c.HTTP, Exporter: "none"},
		"disabled":        {Endpoint: c.HTTP, Disabled: "True"},
		"off, though bad": {Endpoint: "nonsense", Protocol: "x", Disabled: "true"},
	} {
		on := start(t, config, slog.New(slog.DiscardHandler))
		if on != nil {
			t.Errorf("%s: it is on", name)
		}
		ctx := on.Context(t.Context(), trace.SpanContext{})
		ctx, s := span.Start(ctx, "x")
		if span.Recorded(ctx) || span.Environment(ctx) != nil {
			t.Errorf("%s: a span is made", name)
		}
		s.End(nil)
		on.Stop(ctx)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines more", after-before)
	}
}

func TestABadSettingIsNamedWithAHintAndNotQuotedWhenItMayBeASecret(t *testing.T) {
	const secret = "hunter2"
	for name, test := range map[string]struct {
		c    telemetry.Config
		want string
	}{
		"exporter":            {telemetry.Config{Endpoint: "http://c", Exporter: "zipkin"}, "OTEL_TRACES_EXPORTER"},
		"protocol":            {telemetry.Config{Endpoint: "http://c", Protocol: "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL"},
		"protocol of traces":  {telemetry.Config{Endpoint: "http://c", TracesProtocol: "udp"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"},
		"address":             {telemetry.Config{Endpoint: "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT"},
		"password in address": {telemetry.Config{TracesEndpoint: "http://me:" + secret + "@c"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"},
		"header without =":    {telemetry.Config{Endpoint: "http://c", Headers: mask.NewSecret(secret)}, "entry 1 is no name=value"},
		"name of a header":    {telemetry.Config{Endpoint: "http://c", TracesHeaders: mask.NewSecret("a=b,a b=" + secret)}, "entry 2 is no name=value"},
		"line end in a value": {telemetry.Config{Endpoint: "http://c", Headers: mask.NewSecret("a=b%0d%0a" + secret)}, "cannot be the value of a header"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := telemetry.Start(t.Context(), test.c, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), test.want) || len(hint.All(err)) == 0 {
				t.Errorf("Start = %v with hints %q, want %q and a hint", err, hint.All(err), test.want)
			}
			if err != nil && strings.Contains(err.Error()+strings.Join(hint.All(err), ""), secret) {
				t.Errorf("the secret is in %q", err)
			}
		})
	}
}

func TestADeadCollectorDelaysNobodyAndIsToldOnce(t *testing.T) {
	// It takes connections and never answers, the worst that a collector can do.
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	// Whoever waited for a batch would wait until the test is killed.
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_BSP_EXPORT_TIMEOUT"} {
		t.Setenv(name, strconv.FormatInt(time.Hour.Milliseconds(), 10))
	}
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			on := start(t, telemetry.Config{Endpoint: "http://" + l.Addr().String(), Protocol: protocol}, slog.New(slog.NewTextHandler(&log, nil)))
			ctx := on.Context(t.Context(), trace.SpanContext{})
			for range 3000 { // more than the queue holds
				_, s := span.Start(ctx, "step")
				s.End(nil)
			}
			on.Stop(ctx)
			if n := strings.Count(log.String(), "spans are lost"); n != 1 {
				t.Errorf("the log tells of it %d times:\n%s", n, log.String())
			}
			if !strings.Contains(log.String(), "within 2s") {
				t.Errorf("the log does not name the cause:\n%s", log.String())
			}
		})
	}
}

func TestSpansOfLibrariesPassTheMaskOfTheJobToo(t *testing.T) {
	c := otlptest.Start(t)
	on := start(t, telemetry.Config{Endpoint: c.HTTP}, slog.New(slog.DiscardHandler))
	set := mask.NewSet()
	set.Add("hunter2")
	ctx := span.WithMask(on.Context(t.Context(), trace.SpanContext{}), set.Mask)
	ctx, job := span.Start(ctx, "job", attribute.String("a", "is hunter2"), attribute.StringSlice("b", []string{"hunter2"}))
	// As BuildKit's client does: a context with the span and nothing else of ours.
	library := trace.ContextWithSpan(context.WithoutCancel(t.Context()), trace.SpanFromContext(ctx))
	_, rpc := trace.SpanFromContext(library).TracerProvider().Tracer("rpc").Start(library, "call hunter2")
	span.Event(ctx, "hunter2")
	rpc.SetAttributes(attribute.String("command", "curl -H hunter2"))
	rpc.End()
	job.End(errors.New("hunter2 was refused"))
	_, other := span.Start(on.Context(t.Context(), trace.SpanContext{}), "another job's hunter2")
	other.End(nil)
	on.Stop(t.Context())
	for _, s := range c.Spans() {
		all := s.Name + s.Reason + strings.Join(s.Events, "")
		for _, value := range s.Attributes {
			all += value
		}
		if masked := strings.HasPrefix(s.Name, "another"); strings.Contains(all, "hunter2") != masked {
			t.Errorf("span %q says %q", s.Name, all)
		}
	}
	if n := len(c.Spans()); n != 3 {
		t.Errorf("%d spans, want 3:\n%s", n, c.Tree())
	}
}

func TestAProcessAndItsChildAreOfOneTrace(t *testing.T) {
	c := otlptest.Start(t)
	on := start(t, telemetry.Config{Endpoint: c.HTTP}, slog.New(slog.DiscardHandler))
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := on.Context(t.Context(), span.Parent(t.Context(), parent, "vendor=1"))
	if got := span.Environment(ctx); got[span.VariableParent] != parent || got[span.VariableState] != "vendor=1" {
		t.Errorf("a child without a span of ours gets %v", got)
	}
	ctx, s := span.Start(ctx, "job")
	env := span.Environment(ctx)
	s.End(nil)
	on.Stop(ctx)
	job := c.Find(t, "job")
	if job.Trace != "0af7651916cd43dd8448eb211c80319c" || job.Parent != "b7ad6b7169203331" {
		t.Errorf("the job is %+v", job)
	}
	if want := "00-" + job.Trace + "-" + job.ID + "-01"; env[span.VariableParent] != want {
		t.Errorf("the child gets %v, want %s", env, want)
	}
}

func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=b,c=d%20e", "=x", "a", "a=%zz", "a=\r\n", ",,a=1,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := telemetry.Config{Endpoint: "http://c", Headers: mask.NewSecret(text)}
		err := c.Validate()
		for _, value := range c.Secrets() {
			if err != nil || strings.ContainsAny(value.Reveal(), "\r\n\x00") {
				t.Errorf("%q gives the value %q, with %v", text, value.Reveal(), err)
			}
		}
	})
}

package span_test

import (
	"context"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/span"
)

func recorded(t *testing.T) (context.Context, *tracetest.SpanRecorder) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	return span.With(t.Context(), sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)), trace.SpanContext{}), r
}

func TestWithoutAProviderSpansAreNothing(t *testing.T) {
	ctx, s := span.Start(t.Context(), "x", attribute.String("a", "b"))
	s.Set(attribute.String("c", "d"))
	s.End(nil)
	span.Event(ctx, "y")
	span.Add(ctx, span.Past{Name: "z"})
	span.Span{}.Set()
	span.Span{}.End(nil)
	if span.Recorded(ctx) || span.Environment(ctx) != nil {
		t.Error("something is recorded")
	}
}

func TestEachSpanBelowNoParentIsATraceOfItsOwn(t *testing.T) {
	ctx, r := recorded(t)
	for range 2 {
		_, s := span.Start(ctx, "job")
		s.End(nil)
	}
	a, b := r.Ended()[0], r.Ended()[1]
	if a.SpanContext().TraceID() == b.SpanContext().TraceID() || a.Parent().IsValid() {
		t.Errorf("traces %s and %s, parent %v", a.SpanContext().TraceID(), b.SpanContext().TraceID(), a.Parent())
	}
}

func FuzzParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b")
	f.Add("00-00000000000000000000000000000000-b7ad6b7169203331-01", "")
	f.Add("ff-x", ",,,=")
	f.Fuzz(func(t *testing.T, parent, state string) {
		sc := span.Parent(t.Context(), parent, state)
		env := span.Environment(trace.ContextWithRemoteSpanContext(t.Context(), sc))
		if sc.IsValid() != (env[span.VariableParent] != "") {
			t.Errorf("%q is valid: %t, and is handed on as %v", parent, sc.IsValid(), env)
		}
		for _, value := range env {
			if strings.ContainsAny(value, "\x00\n") {
				t.Errorf("%q is no value for an environment", value)
			}
		}
	})
}

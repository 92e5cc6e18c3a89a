package span

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// scope names who made a span.
const scope = "github.com/dockless-ci/dockless"

// Span is a span that was started. The zero value is none.
type Span struct{ span trace.Span }

// root stands for a span that was not started here. It lets the first span find
// its provider as all others do: in the context.
type root struct {
	noop.Span
	provider trace.TracerProvider
	parent   trace.SpanContext
}

func (r root) TracerProvider() trace.TracerProvider { return r.provider }
func (r root) SpanContext() trace.SpanContext       { return r.parent }

// With returns a context whose spans go to provider. They are below parent, which
// another process started; an invalid one makes each of them a trace of its own.
func With(ctx context.Context, provider trace.TracerProvider, parent trace.SpanContext) context.Context {
	return trace.ContextWithSpan(ctx, root{provider: provider, parent: parent})
}

// As returns ctx with the span that other is in.
func As(ctx, other context.Context) context.Context {
	return trace.ContextWithSpan(ctx, trace.SpanFromContext(other))
}

// Start starts a span below that of ctx. The caller ends it.
func Start(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, Span) {
	ctx, s := tracer(ctx).Start(ctx, name, trace.WithAttributes(attributes...))
	return ctx, Span{s}
}

// StartAt is Start of something that began in the past; the zero time is now.
func StartAt(ctx context.Context, name string, began time.Time) (context.Context, Span) {
	if began.IsZero() {
		return Start(ctx, name)
	}
	ctx, s := tracer(ctx).Start(ctx, name, trace.WithTimestamp(began))
	return ctx, Span{s}
}

func tracer(ctx context.Context) trace.Tracer {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(scope)
}

// Recorded reports whether anybody will see the spans below that of ctx, which is
// to be asked before something is computed for them only.
func Recorded(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// Set adds attributes.
func (s Span) Set(attributes ...attribute.KeyValue) {
	if s.span != nil {
		s.span.SetAttributes(attributes...)
	}
}

// Fail marks the span as failed. The whole reason is kept here: what sends the span
// sends its first line, but first masks all of it.
func (s Span) Fail(reason string) {
	if s.span != nil {
		s.span.SetStatus(codes.Error, reason)
	}
}

// End ends the span, as failed when err is not nil.
func (s Span) End(err error) {
	if err != nil {
		s.Fail(err.Error())
	}
	if s.span != nil {
		s.span.End()
	}
}

// Event notes on the span of ctx that something happened.
func Event(ctx context.Context, name string, attributes ...attribute.KeyValue) {
	trace.SpanFromContext(ctx).AddEvent(name, trace.WithAttributes(attributes...))
}

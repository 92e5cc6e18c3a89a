package span

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Names of the variables that carry a place in a trace from process to process,
// as OpenTelemetry writes the fields of W3C Trace Context into an environment.
const (
	VariableParent = "TRACEPARENT"
	VariableState  = "TRACESTATE"
)

// Environment returns the variables that put a child process below the span of
// ctx; none when ctx belongs to no trace.
func Environment(ctx context.Context) map[string]string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	fields := make(propagation.MapCarrier)
	propagation.TraceContext{}.Inject(ctx, fields)
	out := make(map[string]string, len(fields))
	for name, value := range fields {
		out[strings.ToUpper(name)] = value
	}
	return out
}

// Parent returns the place in a trace that the two variables name. What is none is
// no error, for it is none of the caller's making: then it is that of ctx.
func Parent(ctx context.Context, parent, state string) trace.SpanContext {
	fields := propagation.MapCarrier{"traceparent": parent, "tracestate": state}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(ctx, fields))
}

package span

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Past is work that somebody else did and told of.
type Past struct {
	Name       string
	Start, End time.Time
	Error      string // as of Fail; empty: it went well
	Attributes []attribute.KeyValue
}

// Add adds p as a span below that of ctx.
func Add(ctx context.Context, p Past) {
	_, s := tracer(ctx).Start(ctx, p.Name, trace.WithTimestamp(p.Start), trace.WithAttributes(p.Attributes...))
	if p.Error != "" {
		Span{s}.Fail(p.Error)
	}
	s.End(trace.WithTimestamp(p.End))
}

package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sink is where batches end. It tells the log of a collector that takes none, once
// for each time it is away, instead of OpenTelemetry's global error handler; and it
// can be closed while a batch is under way.
type sink struct {
	exporter sdktrace.SpanExporter
	log      *slog.Logger
	open     context.Context //nolint:containedctx // ends with abort; no call can bring it
	abort    context.CancelCauseFunc

	mu   sync.Mutex
	away bool // the last batch was not taken
}

func newSink(ctx context.Context, exporter sdktrace.SpanExporter, log *slog.Logger) *sink {
	s := &sink{exporter: exporter, log: log}
	s.open, s.abort = context.WithCancelCause(context.WithoutCancel(ctx))
	return s
}

// ExportSpans is called by one goroutine, OpenTelemetry's batch processor. It never
// fails: whoever is told would only print it.
func (s *sink) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if s.open.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.open, func() { cancel(context.Cause(s.open)) })
	defer stop()
	err := s.exporter.ExportSpans(ctx, spans)
	switch {
	case err == nil:
		s.back(ctx)
	case s.open.Err() == nil: // else Stop tells
		s.complain(ctx, err)
	}
	return nil
}

func (s *sink) Shutdown(ctx context.Context) error { return s.exporter.Shutdown(ctx) }

// complain says that spans are lost, unless it was said already.
func (s *sink) complain(ctx context.Context, err error) {
	if errors.Is(err, errRedirect) {
		err = errRedirect // without the address, in which there may be anything
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.away {
		s.log.WarnContext(ctx, "spans are lost: the collector does not take them", "error", err,
			"hint", "check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	s.away = true
}

func (s *sink) back(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		s.log.InfoContext(ctx, "the collector takes spans again")
	}
	s.away = false
}

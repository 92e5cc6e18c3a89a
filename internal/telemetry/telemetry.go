package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/span"
)

const (
	// flushTimeout bounds what is sent when the program ends. Two seconds are a
	// collector across an ocean; nobody waits longer for spans.
	flushTimeout = 2 * time.Second
	// One batch is tried for six seconds: until about when the next one is due
	// (OTEL_BSP_SCHEDULE_DELAY is five), so a collector that restarts loses little.
	firstPause, longestPause, longestTry = 500 * time.Millisecond, 2 * time.Second, 6 * time.Second
)

var errFlush = fmt.Errorf("the collector did not take the last spans within %s", flushTimeout)

// Telemetry sends spans. Nil sends none. Its methods may be called concurrently.
type Telemetry struct {
	provider *sdktrace.TracerProvider
	sink     *sink
}

// Start returns what sends spans as c says, and nil when it says nowhere. It
// connects to nobody yet. The caller calls Stop when the last span has ended. Its
// errors are those of [Config.Validate], and of files that OTEL_EXPORTER_OTLP_…
// variables name.
func Start(ctx context.Context, c Config, log *slog.Logger) (*Telemetry, error) {
	if !c.Enabled() {
		return nil, nil //nolint:nilnil // nil is a Telemetry that is off
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	exporter, err := newExporter(ctx, c)
	if err != nil {
		return nil, hint.With(fmt.Errorf("preparing to send spans: %w", err), "docs/traces.md lists the OTEL_ variables; OTEL_SDK_DISABLED=true turns them off")
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", c.ServiceName), attribute.String("service.version", c.Version)),
		resource.WithFromEnv(), // OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME
	)
	if err != nil { // about has what could be read
		log.WarnContext(ctx, "OTEL_RESOURCE_ATTRIBUTES is not taken as it is", "error", err)
	}
	limits := sdktrace.NewSpanLimits()
	longest := limits.AttributeValueLengthLimit
	limits.AttributeValueLengthLimit = -1 // masking cuts
	t := &Telemetry{sink: newSink(ctx, exporter, log)}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithSpanProcessor(newMasking(sdktrace.NewBatchSpanProcessor(t.sink), longest, c.Withhold)),
	)
	return t, nil
}

func newExporter(ctx context.Context, c Config) (sdktrace.SpanExporter, error) {
	headers, err := c.headers()
	if err != nil {
		return nil, err
	}
	if c.protocol() == protocolGRPC {
		return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(c.endpoint()), otlptracegrpc.WithHeaders(headers),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: firstPause, MaxInterval: longestPause, MaxElapsedTime: longestTry}))
	}
	client, err := c.httpClient()
	if err != nil {
		return nil, err
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.endpoint()), otlptracehttp.WithHeaders(headers), otlptracehttp.WithHTTPClient(client),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: firstPause, MaxInterval: longestPause, MaxElapsedTime: longestTry}))
}

// Context returns a context whose spans are sent. They are below parent, which
// another process started; an invalid one makes each of them a trace of its own.
func (t *Telemetry) Context(ctx context.Context, parent trace.SpanContext) context.Context {
	if t == nil {
		return ctx
	}
	return span.With(ctx, t.provider, parent)
}

// Stop sends what there is, in at most two seconds, and ends everything that Start
// started, also when ctx has ended. Spans that cannot be sent are given up; the log
// says so.
func (t *Telemetry) Stop(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), flushTimeout, errFlush)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	t.sink.abort(errFlush)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.sink.complain(ctx, err)
	}
}

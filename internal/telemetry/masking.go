package telemetry

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/span"
)

// masking passes the texts of spans through the mask of the context they were
// started in, those of libraries too: BuildKit's client puts the command that failed
// into its own. A span without one has that of its parent, since libraries make
// contexts that hold the span and nothing else.
type masking struct {
	next sdktrace.SpanProcessor

	mu    sync.Mutex
	masks map[trace.SpanID]span.Mask // of spans that have not ended
}

func newMasking(next sdktrace.SpanProcessor) *masking {
	return &masking{next: next, masks: make(map[trace.SpanID]span.Mask)}
}

func (m *masking) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	mask := span.MaskOf(ctx)
	m.mu.Lock()
	if mask == nil {
		mask = m.masks[s.Parent().SpanID()]
	}
	if mask != nil {
		m.masks[s.SpanContext().SpanID()] = mask
	}
	m.mu.Unlock()
	m.next.OnStart(ctx, s)
}

func (m *masking) OnEnd(s sdktrace.ReadOnlySpan) {
	id := s.SpanContext().SpanID()
	m.mu.Lock()
	mask := m.masks[id]
	delete(m.masks, id)
	m.mu.Unlock()
	if mask != nil {
		s = masked(s, mask)
	}
	m.next.OnEnd(s)
}

func (m *masking) Shutdown(ctx context.Context) error   { return m.next.Shutdown(ctx) }
func (m *masking) ForceFlush(ctx context.Context) error { return m.next.ForceFlush(ctx) }

// maskedSpan is a span with other texts.
type maskedSpan struct {
	sdktrace.ReadOnlySpan
	name       string
	attributes []attribute.KeyValue
	events     []sdktrace.Event
	status     sdktrace.Status
}

func (s maskedSpan) Name() string                     { return s.name }
func (s maskedSpan) Attributes() []attribute.KeyValue { return s.attributes }
func (s maskedSpan) Events() []sdktrace.Event         { return s.events }
func (s maskedSpan) Status() sdktrace.Status          { return s.status }

func masked(s sdktrace.ReadOnlySpan, mask span.Mask) sdktrace.ReadOnlySpan {
	out := maskedSpan{ReadOnlySpan: s, name: mask(s.Name()), attributes: maskedAttributes(s.Attributes(), mask), status: s.Status()}
	out.status.Description = mask(out.status.Description)
	for _, e := range s.Events() {
		e.Name, e.Attributes = mask(e.Name), maskedAttributes(e.Attributes, mask)
		out.events = append(out.events, e)
	}
	return out
}

func maskedAttributes(list []attribute.KeyValue, mask span.Mask) []attribute.KeyValue {
	out := make([]attribute.KeyValue, len(list))
	for i, a := range list {
		switch a.Value.Type() { //nolint:exhaustive // all others are numbers and truths
		case attribute.BYTESLICE, attribute.SLICE, attribute.MAP:
			a.Value = attribute.StringValue(mask(a.Value.String()))
		case attribute.STRING:
			a.Value = attribute.StringValue(mask(a.Value.AsString()))
		case attribute.STRINGSLICE:
			texts := a.Value.AsStringSlice()
			for j, text := range texts {
				texts[j] = mask(text)
			}
			a.Value = attribute.StringSliceValue(texts)
		}
		out[i] = a
	}
	return out
}

package telemetry

import (
	"context"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/span"
)

// masking passes the texts of spans through the mask of the context they were
// started in, those of libraries too: BuildKit's client puts the command that failed
// into its own. A span without one has that of its parent, since libraries make
// contexts that hold the span and nothing else; and where that has ended, as it may
// have in what they do beside, those of the jobs of its trace.
//
// It also cuts them, and nobody else does: where a secret was cut before it was
// masked, its beginning stays.
type masking struct {
	next    sdktrace.SpanProcessor
	longest int  // text of an attribute, in characters; negative is no bound
	bare    bool // texts are withheld

	mu    sync.Mutex
	masks map[trace.SpanID]span.Mask // of spans that have not ended
	jobs  map[trace.SpanID]jobMask   // of those of them that are below no mask
}

type jobMask struct {
	trace trace.TraceID
	mask  span.Mask
}

func newMasking(next sdktrace.SpanProcessor, longest int, bare bool) *masking {
	return &masking{next: next, longest: longest, bare: bare, masks: make(map[trace.SpanID]span.Mask), jobs: make(map[trace.SpanID]jobMask)}
}

func (m *masking) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	id, mask := s.SpanContext(), span.MaskOf(ctx)
	m.mu.Lock()
	above := m.masks[s.Parent().SpanID()]
	switch {
	case mask != nil && above == nil:
		m.jobs[id.SpanID()] = jobMask{id.TraceID(), mask}
	case mask == nil && above != nil:
		mask = above
	case mask == nil:
		mask = m.ofJobs(id.TraceID())
	}
	if mask != nil {
		m.masks[id.SpanID()] = mask
	}
	m.mu.Unlock()
	m.next.OnStart(ctx, s)
}

// ofJobs returns the masks of all jobs of a trace as one; nil when there are none.
func (m *masking) ofJobs(id trace.TraceID) span.Mask {
	var masks []span.Mask
	for _, j := range m.jobs {
		if j.trace == id {
			masks = append(masks, j.mask)
		}
	}
	if masks == nil {
		return nil
	}
	return func(text string) string {
		for _, mask := range masks {
			text = mask(text)
		}
		return text
	}
}

func (m *masking) OnEnd(s sdktrace.ReadOnlySpan) {
	id := s.SpanContext().SpanID()
	m.mu.Lock()
	mask := m.masks[id]
	delete(m.masks, id)
	delete(m.jobs, id)
	m.mu.Unlock()
	m.next.OnEnd(m.shown(s, mask))
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

// shown returns s as it may be seen. Nil is no mask.
func (m *masking) shown(s sdktrace.ReadOnlySpan, mask span.Mask) sdktrace.ReadOnlySpan {
	show := func(text string) string {
		if mask != nil {
			text = mask(text)
		}
		return strings.ToValidUTF8(text, "\uFFFD") // a single wrong byte costs the whole batch
	}
	out := maskedSpan{ReadOnlySpan: s, name: show(s.Name()), attributes: m.attributes(s.Attributes(), show), status: s.Status()}
	out.status.Description = firstLine(show(out.status.Description))
	for _, e := range s.Events() {
		e.Name, e.Attributes = show(e.Name), m.attributes(e.Attributes, show)
		out.events = append(out.events, e)
	}
	if m.bare {
		return withhold(out)
	}
	return out
}

func (m *masking) attributes(list []attribute.KeyValue, show func(string) string) []attribute.KeyValue {
	out := make([]attribute.KeyValue, len(list))
	for i, a := range list {
		switch a.Value.Type() { //nolint:exhaustive // all others are numbers and truths
		case attribute.BYTESLICE, attribute.SLICE, attribute.MAP:
			a.Value = attribute.StringValue(cut(show(a.Value.String()), m.longest))
		case attribute.STRING:
			a.Value = attribute.StringValue(cut(show(a.Value.AsString()), m.longest))
		case attribute.STRINGSLICE:
			texts := a.Value.AsStringSlice()
			for j, text := range texts {
				texts[j] = cut(show(text), m.longest)
			}
			a.Value = attribute.StringSliceValue(texts)
		}
		out[i] = a
	}
	return out
}

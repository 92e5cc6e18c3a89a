// Package otlptest knows how to be a collector of OpenTelemetry for a test: it takes
// spans by OTLP over HTTP and gRPC, on real connections, and keeps them. One use:
// [Start] a collector, point what is tested at [Collector.HTTP] or [Collector.GRPC],
// and ask for [Collector.Spans].
package otlptest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Span is a span that a collector was sent.
type Span struct {
	Name, Trace, ID, Parent string // ids in hexadecimal digits; Parent is empty for a root
	Service                 string
	Attributes              map[string]string // their values as text
	Events                  []string          // names
	Start, End              time.Time
	Failed                  bool
	Reason                  string // why it failed
}

// Collector takes spans. Its methods may be called concurrently.
type Collector struct {
	collectorpb.UnimplementedTraceServiceServer

	// HTTP and GRPC are the collector's addresses, as OTEL_EXPORTER_OTLP_ENDPOINT has
	// them.
	HTTP, GRPC string

	mu      sync.Mutex
	spans   []Span
	headers http.Header // of the last request over HTTP
}

// Start starts a collector that lives as long as the test.
func Start(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{}
	listen := func() net.Listener {
		l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		return l
	}
	forHTTP, forGRPC := listen(), listen()
	c.HTTP, c.GRPC = "http://"+forHTTP.Addr().String(), "http://"+forGRPC.Addr().String()
	web := &http.Server{Handler: http.HandlerFunc(c.take)} //nolint:gosec // of a test
	calls := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(calls, c)
	var served sync.WaitGroup
	served.Go(func() {
		if err := web.Serve(forHTTP); !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("the collector's HTTP ended: %v", err)
		}
	})
	served.Go(func() {
		if err := calls.Serve(forGRPC); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("the collector's gRPC ended: %v", err)
		}
	})
	tb.Cleanup(func() {
		_ = web.Close() // ends Serve
		calls.Stop()
		served.Wait()
	})
	return c
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &collectorpb.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprintf("no spans for %s: %v", r.URL.Path, err), http.StatusBadRequest)
		return
	}
	c.keep(request, r.Header)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Export is the service's only call.
func (c *Collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.keep(r, nil)
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func (c *Collector) keep(r *collectorpb.ExportTraceServiceRequest, headers http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = headers
	for _, resource := range r.GetResourceSpans() {
		service := texts(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				span := Span{
					Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
					Parent: hex.EncodeToString(s.GetParentSpanId()), Service: service, Attributes: texts(s.GetAttributes()),
					Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, Reason: s.GetStatus().GetMessage(),
					Start: time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())), //nolint:gosec // of this century
				}
				for _, e := range s.GetEvents() {
					span.Events = append(span.Events, e.GetName())
				}
				c.spans = append(c.spans, span)
			}
		}
	}
}

func texts(list []*commonpb.KeyValue) map[string]string {
	out := make(map[string]string, len(list))
	for _, a := range list {
		out[a.GetKey()] = text(a.GetValue())
	}
	return out
}

func text(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *commonpb.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *commonpb.AnyValue_ArrayValue:
		var all []string
		for _, x := range v.ArrayValue.GetValues() {
			all = append(all, text(x))
		}
		return strings.Join(all, ",")
	}
	return ""
}

// Spans returns what was sent so far, in the order in which it came.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Header returns a header of the last request over HTTP.
func (c *Collector) Header(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers.Get(name)
}

// Find returns the span called name of those that were sent, or fails the test.
func (c *Collector) Find(tb testing.TB, name string) Span {
	tb.Helper()
	for _, s := range c.Spans() {
		if s.Name == name {
			return s
		}
	}
	tb.Fatalf("there is no span %q; the tree is\n%s", name, c.Tree())
	return Span{}
}

// Tree returns the names of the spans, each below its parent and indented. Siblings
// are in the order of their names.
func (c *Collector) Tree() string {
	spans := c.Spans()
	known := make(map[string]bool)
	for _, s := range spans {
		known[s.ID] = true
	}
	below := make(map[string][]Span)
	for _, s := range spans {
		parent := s.Parent
		if !known[parent] {
			parent = "" // somebody else's
		}
		below[parent] = append(below[parent], s)
	}
	var out strings.Builder
	var write func(parent, indent string)
	write = func(parent, indent string) {
		slices.SortFunc(below[parent], func(a, b Span) int { return strings.Compare(a.Name, b.Name) })
		for _, s := range below[parent] {
			fmt.Fprintf(&out, "%s%s\n", indent, s.Name)
			write(s.ID, indent+"  ")
		}
	}
	write("", "")
	return out.String()
}

package telemetry_test

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/internal/telemetry/otlptest"
)

func TestSpansOfAProcessWithoutTheMasksOfItsJobHaveNoTextsOfOthers(t *testing.T) {
	const secret = "hunter2"
	c := otlptest.Start(t)
	on := start(t, telemetry.Config{Endpoint: c.HTTP, Withhold: true}, slog.New(slog.DiscardHandler))
	top := on.Context(t.Context(), trace.SpanContext{})
	ctx, build := span.Start(top, "build", attribute.StringSlice("container.image.name", []string{"shop:" + secret}))
	build.Set(attribute.Int("dockless.steps", 2), attribute.String("container.image.id", "sha256:1"), attribute.StringSlice("dockless.platforms", []string{"linux/amd64"}))
	span.Event(ctx, "reads "+secret, attribute.String("file", secret))
	for _, name := range []string{
		"[build 2/5] RUN echo " + secret, "[linux/arm64 " + secret + " 1/5] FROM " + secret, "[3/5] " + secret, "[internal] load " + secret,
		"pushing layers of " + secret, "step " + secret, "moby.buildkit.v1.Control/Solve", "moby." + secret + "/ Solve",
	} {
		span.Add(ctx, span.Past{
			Name: name, Start: time.Now(), End: time.Now(), Error: "process \"/bin/sh -c " + secret + "\" did not complete",
			Attributes: []attribute.KeyValue{
				attribute.String("buildkit.vertex", "sha256:2"), attribute.Bool("buildkit.cached", true), attribute.String("command", secret),
				attribute.ByteSlice("bytes", []byte(secret)), attribute.Map("map", attribute.String("key", secret)),
			},
		})
	}
	build.End(errors.New(secret))
	on.Stop(t.Context())
	var names []string
	for _, s := range c.Spans() {
		names = append(names, s.Name)
		all := s.Name + s.Reason + strings.Join(s.Events, "")
		for key, value := range s.Attributes {
			all += key + value
		}
		if strings.Contains(all, secret) {
			t.Errorf("a span says %q", all)
		}
		if !s.Failed || s.Reason != "withheld" {
			t.Errorf("span %q failed: %t, because of %q; want only that it did", s.Name, s.Failed, s.Reason)
		}
	}
	slices.Sort(names)
	if want := []string{"[1/5] FROM", "[2/5] RUN", "build", "moby.buildkit.v1.Control/Solve", "withheld", "withheld", "withheld", "withheld", "withheld"}; !slices.Equal(names, want) {
		t.Errorf("the spans are %q, want %q", names, want)
	}
	if got, want := c.Find(t, "build").Attributes, map[string]string{"dockless.steps": "2", "container.image.id": "sha256:1", "dockless.platforms": "linux/amd64"}; !maps.Equal(got, want) {
		t.Errorf("of the build is told %v, want %v", got, want)
	}
	if got, want := c.Find(t, "[2/5] RUN").Attributes, map[string]string{"buildkit.vertex": "sha256:2", "buildkit.cached": "true"}; !maps.Equal(got, want) {
		t.Errorf("of a step is told %v, want %v", got, want)
	}
}

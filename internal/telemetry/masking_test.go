package telemetry_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/internal/telemetry/otlptest"
)

// sent returns the span "x" as the collector has it, of a job whose secrets these are.
func sent(t *testing.T, do func(span.Span), secrets ...string) otlptest.Span {
	t.Helper()
	c := otlptest.Start(t)
	on := start(t, telemetry.Config{Endpoint: c.HTTP}, slog.New(slog.DiscardHandler))
	set := mask.NewSet()
	set.Add(secrets...)
	_, s := span.Start(span.WithMask(on.Context(t.Context(), trace.SpanContext{}), set.Mask), "x")
	do(s)
	s.End(nil)
	on.Stop(t.Context())
	return c.Find(t, "x")
}

func TestTheReasonOfAFailureIsOneBoundedLine(t *testing.T) {
	for name, test := range map[string]struct{ reason, want string }{
		"one line":      {"no such file", "no such file"},
		"several":       {"\n first\nsecond", "first"},
		"nothing":       {"", ""},
		"a long one":    {strings.Repeat("a", 5000), strings.Repeat("a", 512) + "…"},
		"in characters": {strings.Repeat("ä", 5000), strings.Repeat("ä", 512) + "…"},
		"in no text":    {"a\xff\xfeb", "a\uFFFDb"},
	} {
		t.Run(name, func(t *testing.T) {
			got := sent(t, func(s span.Span) { s.Fail(test.reason) })
			if !got.Failed || got.Reason != test.want {
				t.Errorf("the reason is %q, want %q", got.Reason, test.want)
			}
		})
	}
}

func TestNoBeginningOfASecretIsLeftByACut(t *testing.T) {
	t.Setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "20")
	const secret, lines = "correct horse battery staple", "corre\nhunter2 ab\nhunter2 cd"
	for _, text := range []string{
		strings.Repeat("a", 500) + secret, // across what a reason may be long
		strings.Repeat("ä", 500) + secret,
		"curl -H " + secret,
		"echo " + lines + " > key",
	} {
		got := sent(t, func(s span.Span) {
			s.Set(attribute.String("text", text), attribute.StringSlice("texts", []string{text}))
			s.Fail(text)
		}, secret, lines)
		for _, shown := range []string{got.Reason, got.Attributes["text"], got.Attributes["texts"]} {
			for _, part := range []string{"corre", "hunter2"} {
				if strings.Contains(shown, part) {
					t.Errorf("of %q the collector is sent %q", text, shown)
				}
			}
		}
		if n := utf8.RuneCountInString(got.Attributes["text"]); n == 0 || n > 20 || got.Attributes["texts"] != got.Attributes["text"] {
			t.Errorf("attributes %q, want at most the 20 characters of the setting", got.Attributes)
		}
	}
}

func TestWhatStartsBelowAnEndedSpanPassesTheMaskOfItsJob(t *testing.T) {
	c := otlptest.Start(t)
	on := start(t, telemetry.Config{Endpoint: c.HTTP}, slog.New(slog.DiscardHandler))
	// Jobs of a replay are of one trace, and run side by side.
	top := on.Context(t.Context(), span.Parent(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""))
	var ends []span.Span
	var solved []context.Context
	for _, secret := range []string{"hunter2", "letmein"} {
		set := mask.NewSet()
		set.Add(secret)
		ctx, job := span.Start(span.WithMask(top, set.Mask), "job")
		ctx, solve := span.Start(ctx, "solve")
		solve.End(nil)
		ends = append(ends, job)
		solved = append(solved, trace.ContextWithSpan(context.WithoutCancel(t.Context()), trace.SpanFromContext(ctx)))
	}
	for _, library := range solved {
		_, late := span.Start(library, "late: hunter2, letmein")
		late.End(nil)
	}
	for _, job := range ends {
		job.End(nil)
	}
	_, other := span.Start(top, "after the jobs: hunter2") // or masks would be kept for good
	other.End(nil)
	on.Stop(t.Context())
	c.Find(t, "after the jobs: hunter2")
	if n := strings.Count(c.Tree(), "late: ***, ***\n"); n != 2 {
		t.Errorf("%d late spans are masked, want both:\n%s", n, c.Tree())
	}
}

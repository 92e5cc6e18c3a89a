// Package span knows how a stretch of work becomes a span of the trace that its
// context belongs to. It talks to nobody: where spans go is the business of the
// provider that [With] puts into a context, and without one every call here costs
// next to nothing and does nothing.
//
// One use flows like this: a command puts the provider of internal/telemetry into
// its context; what runs below starts spans with [Start] and ends them with
// [Span.End]; [Environment] hands the place in the trace to a child process.
package span

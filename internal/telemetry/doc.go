// Package telemetry knows how to send spans to a collector of OpenTelemetry, by
// OTLP over gRPC or HTTP. Nothing else of this program does, and nothing is global:
// what makes spans finds the provider in its context (internal/span).
//
// One use flows like this: [Start] returns nil when the settings ask for nothing,
// which costs nothing. Else [Telemetry.Context] makes a context whose spans are
// sent in batches, beside the work: a collector that is slow or down loses spans,
// and the log says so once, but it holds nobody up. [Telemetry.Stop] sends the rest
// in a bounded time. On their way the texts of spans pass the mask of their job, and
// only then are they cut.
//
// The settings are OpenTelemetry's own. Those that decide whether, where to and with
// which credentials spans are sent are in [Config]; all others (OTEL_TRACES_SAMPLER,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_…, OTEL_EXPORTER_OTLP_TIMEOUT, _COMPRESSION,
// _CERTIFICATE …) are read from the environment by OpenTelemetry's libraries.
package telemetry

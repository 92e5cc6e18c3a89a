// Package metrics knows what this process counts and measures, and shows it to
// Prometheus over HTTP. It keeps a registry of its own and nothing global.
//
// One use flows like this: [Listen] takes the address before anything else starts,
// so a port that is in use is told at once; [New] makes the metrics; what happens is
// handed to [Metrics.Build], [Metrics.Job] and the like, from any goroutine;
// [Server.Run] serves [Metrics.Pages] until its context ends. A scrape only reads
// memory: what has to be asked for is asked beside it.
//
// [Described] lists every metric; docs/metrics.md is made of it.
package metrics

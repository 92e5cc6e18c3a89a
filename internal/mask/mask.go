// Package mask knows which values must not be shown, and hides them.
//
// A [Secret] is one such value as a type that does not print itself. A [Set]
// collects the values of a job, in every form in which they could reach an
// output, and replaces them by three asterisks: in one string with [Set.Mask],
// in a stream with [Set.NewWriter]. The usual flow is one Set for each job,
// fed from the job's secret variables before the first step runs and from the
// step's own commands while it runs, and one Writer for each output stream.
//
// The package talks to nothing outside and imports nothing of ours.
package mask

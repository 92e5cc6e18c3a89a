package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// measured is a row with its result.
type measured struct {
	row
	result
}

const reportIntro = `# Benchmarks

<!-- Written by make bench. -->

Each row ran ours and its peer in turn on one machine, in one run; figures are medians unless a row says otherwise. Two
cores are few: everything that takes part in a row shares them, the peer's server included.

`

// report writes the table as Markdown.
func report(ctx context.Context, table []measured, quick bool) string {
	var b strings.Builder
	b.WriteString(reportIntro)
	fmt.Fprintf(&b, "Measured %s on %s.\n", time.Now().UTC().Format(time.DateOnly), machine(ctx))
	if quick {
		b.WriteString("\n**A quick run: too few repetitions to mean anything.**\n")
	}
	b.WriteString("\n| what | ours | peer | peer measured | ratio | budget | |\n|---|---|---|---|---|---|---|\n")
	for _, m := range table {
		verdict := "met"
		if !m.met {
			verdict = "**missed**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", m.what, m.ours, m.row.peer, m.result.peer, m.ratio, m.budget, verdict)
	}
	return b.String()
}

// machine describes where the figures come from.
func machine(ctx context.Context) string {
	var uts unix.Utsname
	kernel := "unknown"
	if unix.Uname(&uts) == nil {
		kernel = unix.ByteSliceToString(uts.Release[:])
	}
	return fmt.Sprintf("%d × %s, %.0f GiB of memory, Linux %s, %s, %s",
		runtime.NumCPU(), firstField("/proc/cpuinfo", "model name"), memoryGiB(), kernel, runtime.Version(), version(ctx, "podman", "--version"))
}

func firstField(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = f.Close() }() // read only
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memoryGiB() float64 {
	var kib float64
	_, _ = fmt.Sscanf(firstField("/proc/meminfo", "MemTotal"), "%f", &kib) // zero says unknown well enough
	return kib / (1 << 20)
}

func version(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return program + " unknown"
	}
	return strings.TrimSpace(string(out))
}

// alternate measures ours and the peer in turn, n times each. Who begins changes from
// round to round, so that neither always pays for what the other left to be done.
func alternate(n int, ours, peer func() (time.Duration, error)) (o, p []time.Duration, err error) {
	turns := []struct {
		whose   string
		run     func() (time.Duration, error)
		samples *[]time.Duration
	}{{"ours", ours, &o}, {"the peer", peer, &p}}
	for range n {
		for _, t := range turns {
			d, err := t.run()
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", t.whose, err)
			}
			*t.samples = append(*t.samples, d)
		}
		slices.Reverse(turns)
	}
	return o, p, nil
}

// timed returns how long f took.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// quantile returns the value below which the share q of the samples lies.
func quantile(samples []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(samples))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func median(samples []time.Duration) time.Duration { return quantile(samples, 0.5) }

// compare turns the samples of both into a result: met when the ratio of the
// medians is at most limit.
func compare(ours, peer []time.Duration, limit float64) result {
	o, p := median(ours), median(peer)
	ratio := float64(o) / float64(p)
	return result{ours: show(o), peer: show(p), ratio: fmt.Sprintf("%.2f ×", ratio), met: ratio <= limit}
}

// show rounds a duration to three figures.
func show(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	case d >= time.Microsecond:
		return fmt.Sprintf("%.2f µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%d ns", d)
}

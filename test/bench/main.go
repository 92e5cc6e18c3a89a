// Command bench measures the budgets of the project: each row runs ours and a
// peer in turn on the same machine, takes medians, and says whether the budget
// was met. A miss is written down as a miss. It writes docs/benchmarks.md.
//
//	go run ./test/bench -out docs/benchmarks.md [-row probe,stack] [-quick]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/test/stage"
)

// benchTimeout bounds a whole run. All rows together take less than twenty minutes on
// two cores.
const benchTimeout = 40 * time.Minute

// row is one line of the table.
type row struct {
	key    string // for -row
	what   string
	peer   string // what ours is compared with
	budget string
	run    func(context.Context, *bench) (result, error)
}

// result is what a row measured, in words for the table.
type result struct {
	ours, peer, ratio string
	met               bool
}

// bench is what the rows share.
type bench struct {
	quick bool // fewer repetitions, for trying the harness out
	stage *stage.Stage
}

// times returns n, or a few when the run is quick.
func (b *bench) times(n int) int {
	if b.quick {
		return max(2, n/10)
	}
	return n
}

func rows() []row {
	return []row{
		{"probe", "exec probe, wall p50", "`cat FILE`", "≤ 1.0 ×", probeRow},
		{"beat", "one beat", "`utimes` on a file", "≤ 5 ns", beatRow},
		{"scrape", "one scrape of an idle agent's metrics", "none at hand", "p95 ≤ 5 ms", scrapeRow},
		{"idle-memory", "idle agent, resident memory", "none at hand", "≤ 30 MB", idleMemoryRow},
		{"idle-cpu", "idle agent, processor", "none at hand", "≤ 0.1 % of a core", idleCPURow},
		{"boot", "exec to open session", "none at hand", "≤ 100 ms", bootRow},
		{"pickup", "queued to first line of the first script", "none at hand", "p50 ≤ 50 ms, p99 ≤ 200 ms", pickupRow},
		{"steps", "200 `true` steps, per step", "`bash -c true`", "≤ 10 ms above", stepsRow},
		{"log", "1 GB of log with 100 secrets", "none at hand", "≥ 150 MB/s, ≤ 80 MB RSS, nothing lost or leaked", logRow},
		{"status-page", "status page while a job prints 100,000 lines, eight readers", "none at hand", "p95 ≤ 50 ms", statusPageRow},
		{"build", "one build, every step run", "`buildctl build`", "≤ 1.03 ×", buildRow},
		{"build-buildx", "one build, every step run", "`docker buildx build`", "≤ 1.03 ×", buildxRow},
		{"build-buildah", "one build, every step run", "`buildah bud`", "≤ 1.0 ×", buildahRow},
		{"cache", "the example on an empty builder, warm registry cache", "the same without any cache", "≥ 5 × faster", cacheRow},
		{"cache-two-platforms", "two platforms, one emulated, on an empty builder, warm registry cache", "the same without any cache", "≥ 5 × faster", cacheTwoPlatformsRow},
		{"two-nodes", "two platforms on two nodes, pushed as one image", "two `buildctl build`, one after the other", "≤ 0.8 ×", twoNodesRow},
		{"builds-100", "100 builds at once, each a process, caches exported", "100 `buildctl build` at once, no cache export", "none fails, ≤ 100 MB each, exports ≤ 3 at a time", hundredRow},
		{"stack-mysql", "stack of three to all healthy", "MySQL alone, by hand", "≤ 1.2 ×", stackAloneRow},
		{"stack-compose", "stack of three to all healthy", "`podman-compose`", "≤ 0.35 ×", stackComposeRow},
		{"stack-compose-warm", "stack of three to all healthy, MySQL with `warm`", "`podman-compose`", "≤ 0.35 ×", stackComposeWarmRow},
		{"stack-started", "three containers started, none with a healthcheck", "`docker compose up -d`, the same Podman", "≤ 0.9 ×", stackStartedRow},
		{"stack-warm", "MySQL with `warm` to healthy", "the same without", "≤ 1 s or ≤ 0.5 ×", stackWarmRow},
	}
}

func main() {
	out := flag.String("out", "", "write the table to this file; empty prints it only")
	only := flag.String("row", "", "rows to run, comma-separated; empty is all")
	quick := flag.Bool("quick", false, "few repetitions: tries the harness, measures nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeoutCause(ctx, benchTimeout, fmt.Errorf("the benchmarks took longer than %s", benchTimeout))
	err := run(ctx, *out, *only, *quick)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, only string, quick bool) (err error) {
	b := &bench{quick: quick}
	b.stage, err = stage.Start(ctx, stage.Options{})
	defer func() { err = errors.Join(err, b.stage.Stop(ctx)) }()
	if err != nil {
		return err
	}
	var wanted []string
	if only != "" {
		wanted = strings.Split(only, ",")
	}
	var table []measured
	for _, r := range rows() {
		if wanted != nil && !slices.Contains(wanted, r.key) {
			continue
		}
		fmt.Printf("measuring %s …\n", r.key)
		start := time.Now()
		res, err := r.run(ctx, b)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", r.key, err)
		}
		fmt.Printf("  ours %s, peer %s, ratio %s, met %t (%s)\n", res.ours, res.peer, res.ratio, res.met, time.Since(start).Round(time.Second))
		table = append(table, measured{r, res})
	}
	text := report(ctx, table, quick)
	if out == "" {
		fmt.Print(text)
		return nil
	}
	if wanted != nil || quick {
		return errors.New("-out writes whole, full runs only; leave -row and -quick away")
	}
	return os.WriteFile(out, []byte(text), 0o644) //nolint:gosec // a document
}

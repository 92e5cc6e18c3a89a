// Command demo runs examples/shop as a newcomer would see it: an Azure DevOps in
// a process, an agent, a real buildkitd, a real Podman and a real registry. The
// job runs twice; in between the builder is emptied, so that the second run
// shows what the registry cache is worth. It ends with a table, leaves nothing
// behind, and fails unless both jobs succeeded and the second was mostly cached.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

// wantCached is the share of build steps that the second run must find in the
// registry (the demo's promise in the README).
const wantCached = 0.8

// demoTimeout bounds the whole demo. It takes about a minute and a half; slow
// disks and cold page caches get five times that.
const demoTimeout = 8 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the demo took longer than %s", demoTimeout))
	err := demo(ctx)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		for _, h := range hint.All(err) {
			fmt.Fprintf(os.Stderr, "hint: %s\n", h)
		}
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	heading("starting everything")
	s, err := stage.Start(ctx, stage.Options{Started: func(part string, took time.Duration) {
		fmt.Printf("  %-24s %6d ms\n", part, took.Milliseconds())
	}})
	defer func() { err = errors.Join(err, s.Stop(ctx)) }()
	if err != nil {
		return err
	}
	repo, pipeline, err := s.Shop(ctx)
	if err != nil {
		return err
	}
	if _, err := s.StartAgent(ctx, stage.AgentOptions{Name: "demo"}); err != nil {
		return err
	}
	heading("first run: the builder and the registry cache are empty")
	cold, err := runJob(ctx, s, repo, pipeline)
	if err != nil {
		return err
	}
	heading("emptying the builder: what is warm now is in the registry")
	if err := s.Buildkitd.Prune(ctx); err != nil {
		return err
	}
	heading("second run")
	warm, err := runJob(ctx, s, repo, pipeline)
	if err != nil {
		return err
	}
	heading("what the cache was worth")
	printTable(os.Stdout, cold, warm)
	return judge(cold, warm)
}

// judge holds the demo against its promise.
func judge(cold, warm *outcome) error {
	var problems []error
	for name, o := range map[string]*outcome{"first": cold, "second": warm} {
		if o.report.Result != job.Succeeded {
			problems = append(problems, fmt.Errorf("the %s job ended with %s", name, o.report.Result))
		}
	}
	if steps, cached := warm.buildSteps(); steps == 0 || float64(cached) < wantCached*float64(steps) {
		problems = append(problems, fmt.Errorf("%d of %d build steps of the second run were cached, want %.0f %%", cached, steps, 100*wantCached))
	}
	return errors.Join(problems...)
}

func heading(text string) { fmt.Printf("\n=== %s\n\n", text) }

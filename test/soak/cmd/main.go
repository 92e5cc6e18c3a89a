// Command cmd runs the soak and prints its table. `make soak` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/test/soak"
	"github.com/dockless-ci/dockless/test/stage"
)

func main() {
	var o soak.Options
	flag.IntVar(&o.Jobs, "jobs", 500, "how many jobs")
	flag.IntVar(&o.Agents, "agents", 20, "how many agents")
	flag.IntVar(&o.Lines, "lines", 200, "lines of each of a job's two steps")
	flag.IntVar(&o.Every, "every", 10, "a fault hits each n-th request")
	outage := soak.OutageOptions{Width: 300}
	flag.IntVar(&outage.Lines, "outage-lines", 100_000, "lines of the job during which the server goes away")
	flag.DurationVar(&outage.Away, "away", time.Minute, "how long the server is away; zero leaves this part out")
	logTo := flag.String("log", "", "file for the agents' logs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if o.Jobs > 0 {
		err = run(ctx, o, *logTo)
	}
	if outage.Away > 0 {
		err = errors.Join(err, runOutage(ctx, outage))
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o soak.Options, logTo string) (err error) {
	if o.Dir, err = os.MkdirTemp("", "dockless-soak-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	o.Log = slog.New(slog.DiscardHandler)
	if logTo != "" {
		file, err := os.Create(logTo)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // a log
		o.Log = slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := stage.Start(ctx, stage.Options{NoBuildkitd: true, NoRegistry: true})
	defer func() { err = errors.Join(err, s.Stop(ctx)) }()
	if err != nil {
		return err
	}
	o.PodmanHost = s.Podman.Addr()
	shown := -1
	o.Progress = func(ended, all int) {
		if ended/10 != shown/10 || shown < 0 { // a line for each ten
			fmt.Fprintf(os.Stderr, "%d of %d jobs have ended\n", ended, all)
			shown = ended
		}
	}
	r, err := soak.Run(ctx, o)
	if err != nil {
		return err
	}
	if err := r.Write(os.Stdout); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return fmt.Errorf("%d problems", len(r.Problems))
	}
	return nil
}

func runOutage(ctx context.Context, o soak.OutageOptions) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Away+10*time.Minute, errors.New("the job did not end ten minutes after the server came back"))
	defer cancel()
	s, err := stage.Start(ctx, stage.Options{NoBuildkitd: true, NoPodman: true, NoRegistry: true})
	defer func() { err = errors.Join(err, s.Stop(ctx)) }()
	if err != nil {
		return err
	}
	r, err := soak.Outage(ctx, s, o)
	if err != nil {
		return err
	}
	if err := r.Write(os.Stdout); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return fmt.Errorf("%d problems", len(r.Problems))
	}
	return nil
}

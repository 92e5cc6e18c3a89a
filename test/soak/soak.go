// Package soak knows how to run many agents against a server that keeps failing,
// and to count what was lost: every job has to end in exactly one result, every
// line of its log has to arrive exactly once and in order, and nothing may be
// left when all agents have gone.
//
// The agents are real ones, in this process: the package agent with the package
// runner, real shells and, if there is a Podman, real dependency containers. The
// server is the emulator behind HTTP. [Run] starts both, lets a fault hit every
// n-th request, waits for the jobs, stops the agents and returns a [Report].
package soak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/podmanrun"
)

// Options say how hard it is.
type Options struct {
	Agents int
	Jobs   int
	Lines  int // that each of a job's two steps prints
	Every  int // a fault hits every n-th request; zero: none
	Dir    string
	// PodmanHost is the address of the service that runs a dependency container
	// beside every [serviceEvery]-th job; empty: there are none.
	PodmanHost string
	// NewAgent makes an agent; nil is [agent.New]. A test makes hasty ones.
	NewAgent func(agent.Config, agent.JobFunc, agent.Deps) (*agent.Agent, error)
	Log      *slog.Logger
	// Progress, when set, is told every few seconds how many jobs have ended.
	Progress func(ended, all int)
}

// serviceEvery jobs one has a container: the engine, not the agents, would be
// what is measured otherwise.
const serviceEvery = 25

// taskEvery jobs one has a downloaded task: then a fault hits about two downloads
// in a hundred jobs.
const taskEvery = 5

// lostStart of so many jobs may be abandoned although nobody took its lock: a
// job whose message is deleted, and whose first renewal fails until its agent
// lets go of it. Every tenth request fails, so it takes three in a row.
const lostStart = 100

// server is the emulator with faults in front of it.
type server struct {
	*emulator.Server
	url    string
	faults *faults
}

// Run runs one soak. Its error means that the soak could not be run; what went
// wrong in it is in the report.
func Run(ctx context.Context, o Options) (_ Report, err error) {
	if o.NewAgent == nil {
		o.NewAgent = agent.New
	}
	before := countLeft()
	srv, stop, err := start(ctx, o)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	podman, closePodman, err := openPodman(ctx, o)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, closePodman()) }()
	began := time.Now()
	f := &fleet{o: o, podman: podman, srv: srv, ran: make(map[job.ID]int), told: make(map[job.ID][]job.Result)}
	queued, err := f.queue(ctx)
	if err != nil {
		return Report{}, err
	}
	agents, stopAgents := context.WithCancelCause(ctx)
	defer stopAgents(nil)
	if err := f.launch(agents); err != nil {
		return Report{}, err
	}
	waitErr := f.await(ctx, queued)
	srv.faults.end() // the agents leave a server that works
	stopAgents(errors.New("the soak is over"))
	f.agents.Wait()
	r := f.report(ctx, queued, waitErr)
	r.Took = time.Since(began).Round(time.Second)
	r.containers(ctx, o, podman)
	if err := errors.Join(stop(), closePodman()); err != nil {
		return r, err
	}
	r.left(before)
	return r, nil
}

// openPodman connects to the service, if there is to be one. Closing twice is fine.
func openPodman(ctx context.Context, o Options) (*podmanrun.Client, func() error, error) {
	if o.PodmanHost == "" {
		return nil, func() error { return nil }, nil
	}
	c, err := podmanrun.Open(ctx, podmanrun.Config{Host: o.PodmanHost, ConnectTimeout: 10 * time.Second}, o.Log)
	if err != nil {
		return nil, nil, err
	}
	return c, sync.OnceValue(c.Close), nil
}

// start serves the emulator. The locks are shorter than the service's, so that
// jobs that somebody lost do not hold the soak up for a quarter of an hour.
func start(ctx context.Context, o Options) (*server, func() error, error) {
	cfg := emulator.Defaults()
	cfg.PAT = mask.NewSecret("soak-personal-access-token")
	cfg.StateDir = filepath.Join(o.Dir, "emulator")
	cfg.LockDuration, cfg.LockGrace, cfg.SessionExpiry = 2*time.Minute, 30*time.Second, 30*time.Second
	emu, err := emulator.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, errors.Join(err, emu.Close())
	}
	srv := &server{Server: emu, url: "http://" + ln.Addr().String(), faults: &faults{srv: emu, every: o.Every}}
	web := &http.Server{Handler: srv.faults, ReadHeaderTimeout: 10 * time.Second}
	clock, stopClock := context.WithCancelCause(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { _ = emu.Run(clock) }) // returns nil
	running.Go(func() { _ = web.Serve(ln) })  // ends with Close
	return srv, sync.OnceValue(func() error {
		stopClock(errors.New("the soak is over"))
		err := errors.Join(emu.Close(), web.Close())
		running.Wait()
		return err
	}), nil
}

// left is what a process may leave behind in itself.
type left struct{ goroutines, files int }

func countLeft() left {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return left{runtime.NumGoroutine(), -1}
	}
	return left{runtime.NumGoroutine(), len(entries)}
}

// fleet is the agents of a soak and what they said.
type fleet struct {
	o      Options
	podman *podmanrun.Client // nil: none
	srv    *server
	agents sync.WaitGroup

	mu   sync.Mutex
	ran  map[job.ID]int          // how often a job was started
	told map[job.ID][]job.Result // what its agent said at the end
	ends []error                 // of agents that ended by themselves
}

// launch starts the agents.
func (f *fleet) launch(ctx context.Context) error {
	for i := range f.o.Agents {
		name := agentName(i)
		dir := filepath.Join(f.o.Dir, name)
		run, err := newJobs(f, name, dir)
		if err != nil {
			return err
		}
		a, err := f.o.NewAgent(agent.Config{
			URL: f.srv.url, Token: mask.NewSecret("soak-personal-access-token"), Pool: "Default", Name: name, Auth: "pat",
			DrainTimeout: new(time.Minute), StateDir: filepath.Join(dir, "state"), Ephemeral: true, Reregister: true,
		}, run, agent.Deps{Log: f.o.Log.With("agent", name), Product: "dockless/soak", JobEnded: f.ended})
		if err != nil {
			return err
		}
		f.agents.Go(func() {
			if err := a.Run(ctx); err != nil || ctx.Err() == nil {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.ends = append(f.ends, fmt.Errorf("%s ended: %w", name, errors.Join(err, errNotTold)))
			}
		})
	}
	return nil
}

func agentName(i int) string { return fmt.Sprintf("soak-%02d", i+1) }

var errNotTold = errors.New("before it was told to")

func (f *fleet) ended(id job.ID, r job.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told[id] = append(f.told[id], r)
}

// patience bounds a soak by what one agent may need for its share: faults cost
// pauses of ten seconds and more.
func (o Options) patience() time.Duration {
	return 2*time.Minute + time.Duration(o.Jobs/max(o.Agents, 1))*2*time.Minute
}

// await waits until every job has ended.
func (f *fleet) await(ctx context.Context, queued []queuedJob) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.o.patience(), fmt.Errorf("not all jobs ended within %s", f.o.patience()))
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		all := f.srv.Jobs()
		ended := len(slices.DeleteFunc(slices.Clone(all), func(s emulator.Status) bool { return s.State != emulator.Completed }))
		if f.o.Progress != nil {
			f.o.Progress(ended, len(queued))
		}
		if ended == len(queued) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

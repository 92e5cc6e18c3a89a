package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/cdi"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/internal/preempt"
	"github.com/dockless-ci/dockless/internal/recent"
	"github.com/dockless-ci/dockless/runner"
)

// agentSettings are what the commands of an agent are told.
type agentSettings struct{ settings.All }

func newAgentCommand() *cobra.Command {
	var (
		once, placeholder bool
		output            string
	)
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run as an agent of an Azure DevOps pool",
		Long: `agent registers with Azure DevOps, opens a session, and runs the jobs it is sent.
SIGTERM, or a cloud's notice that the machine goes away (DOCKLESS_PREEMPTION), lets
the running job end within its budget (DOCKLESS_DRAIN_TIMEOUT, DOCKLESS_GRACE_PERIOD);
then the agent unregisters and exits with 0. A second signal ends it at once.

The settings come from the environment: AZP_URL and a credential are required,
AZP_TOKEN (or AZP_TOKEN_FILE) or an Azure identity (AZP_AUTH=azure);
BUILDKIT_HOST and CONTAINER_HOST say where BuildKit and Podman are.
docs/configuration.md has them all.

With --placeholder it registers an agent that is never online, prints its
capabilities and exits: jobs whose demands it meets wait in the pool instead of
being refused, and an autoscaler such as KEDA starts agents for them. It is named
AZP_AGENT_NAME, or dockless-placeholder, and is not removed by agent reap.`,
		Example: `  dockless agent --once
  AZP_AGENT_NAME=linux-template dockless agent --placeholder --output json`,
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmdline.OneOf("--output", output, "text", "json"); err != nil {
				return err
			}
			if once && placeholder {
				return cmdline.Usagef("--once and --placeholder exclude each other: a placeholder takes no job")
			}
			if cmd.Flags().Changed("output") && !placeholder {
				return hint.With(cmdline.Usagef("--output is for --placeholder"), "LOG_FORMAT sets the form of the agent's log")
			}
			var s agentSettings
			if err := s.Load(); err != nil {
				return err
			}
			if placeholder {
				return registerPlaceholder(cmd.Context(), &s, cmd.OutOrStdout(), output, logging.New(cmd.ErrOrStderr(), settings.Quieter(s.Log)))
			}
			s.Agent.Once = s.Agent.Once || once
			return runAgent(cmd.Context(), &s, logging.New(cmd.ErrOrStderr(), s.Log))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&once, "once", false, "take one job, unregister and exit (DOCKLESS_ONCE)")
	flags.BoolVar(&placeholder, "placeholder", false, "register an agent that stands for those to come, and exit")
	flags.StringVar(&output, "output", "text", "`FORM` of --placeholder: text or json")
	cmdline.CompleteWords(cmd, "output", "text", "json")
	cmd.AddCommand(newReapCommand())
	return cmd
}

// runAgent boots in the order that lets a predecessor's leftovers go before
// anything new starts, and runs the agent until it ends.
func runAgent(ctx context.Context, s *agentSettings, log *slog.Logger) (err error) {
	if err := makeWorkFolder(s.Runner.Work); err != nil {
		return err
	}
	in, err := openSignIn(s, log)
	if err != nil {
		return err
	}
	defer in.close()
	s.hideCredential(ctx, in, log)
	s.Runner.Registries = in.registries
	pages, err := metrics.Listen(ctx, s.Metrics, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pages.Close()) }()
	if err := leaveTrace(); err != nil {
		return err
	}
	ctx, stopTelemetry, err := cmdline.StartTrace(ctx, s.Telemetry, version, log)
	if err != nil {
		return err
	}
	defer stopTelemetry()
	health, err := openHealth(s.Job.ProbeFile, s.Job.ProbeShared, s.bootTime())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, health.close()) }()
	stopAnnouncing, err := health.announce(ctx, s.Systemd, log)
	if err != nil {
		return err
	}
	defer stopAnnouncing()

	s.Build.StateDir = filepath.Join(s.Agent.StateDir, "buildkit")
	parts := workshopSettings{build: s.Build, podman: s.Podman, needBuilder: true, wantPodman: true, state: filepath.Join(s.Agent.StateDir, "builds")}
	if pages != nil {
		parts.metrics = metrics.New(version)
	}
	shop, err := parts.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.close(ctx)) }()
	defer health.leave()

	s.warnOfEngines(ctx, shop, log)
	run := &jobRunner{settings: s, shop: shop, log: log, beat: inJob(health.step)}
	states := &agentStates{metrics: shop.metrics, state: metrics.Offline, since: time.Now()}
	if pages != nil && !s.Status.Off() {
		run.recent = recent.New()
	}
	var last lastResult
	deps := in.deps(s.agentDeps(log))
	deps.Health = health.agent()
	if shop.metrics != nil {
		deps.Health = states.observe(deps.Health)
	}
	deps.Capabilities, deps.JobEnded = shop.capabilities(ctx, cdi.Dirs(), log), func(id job.ID, result job.Result) {
		last.set(result)
		run.ended(id, result)
	}
	a, err := agent.New(s.Agent, run.run, deps)
	if err != nil {
		return cmdline.Unusable(err)
	}
	if err := clearPredecessor(ctx, a, shop, s, log); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	// Watching outlives the order to stop: an agent that drains is alive until its
	// job has ended, which may take longer than a slot may be silent.
	over, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		defer stopWatching()
		return a.Run(gctx)
	})
	g.Go(func() error {
		health.watch(over, shop, log)
		return nil
	})
	g.Go(func() error {
		settle(over, log)
		return nil
	})
	if shop.metrics != nil {
		containers := newGlancing(shop.podman, settings.AgentName(s.Agent))
		g.Go(func() error {
			return pages.Run(over, s.pages(over, &agentSource{Jobs: run.recent, settings: s, states: states, podman: containers}, shop.metrics))
		})
		g.Go(func() error {
			containers.watch(over)
			return nil
		})
		g.Go(func() error {
			watchDisks(over, shop.builder, shop.metrics)
			return nil
		})
	}
	g.Go(func() error {
		keepBeside(over, a, s, log)
		return nil
	})
	g.Go(func() error {
		drainWhenPreempted(over, a, s.Notice, log)
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if s.Agent.Once && s.Agent.ExitWithResult {
		return last.exit()
	}
	return nil
}

// drainWhenPreempted gives the agent the order to stop when the cloud is about
// to take the machine away. It returns when ctx ends.
func drainWhenPreempted(ctx context.Context, a *agent.Agent, c preempt.Config, log *slog.Logger) {
	connections := &http.Transport{Proxy: nil} // the metadata server is this machine's own
	defer connections.CloseIdleConnections()
	watcher := preempt.New(c, connections, log)
	if watcher == nil {
		return
	}
	notice, err := watcher.Wait(ctx)
	if err != nil {
		return
	}
	log.WarnContext(ctx, "the machine goes away", "reason", notice.Reason, "within", notice.Within)
	a.Drain(agent.Order{Reason: notice.Reason, Within: notice.Within})
}

// lastResult keeps how the last job ended. It is safe for concurrent use.
type lastResult struct{ result atomic.Value }

func (l *lastResult) set(r job.Result) { l.result.Store(r) }

// exit returns the exit code that a job's result stands for, as an error that was
// shown already; nil when there was no job.
func (l *lastResult) exit() error {
	switch l.result.Load() {
	case nil, job.Succeeded, job.SucceededWithIssues:
		return nil
	}
	return cmdline.ExitWith(cmdline.ExitFailed)
}

// clearTime bounds the removal of what a dead job left: enough for a stack that has to be
// killed, on a slow disk. The next start goes on where this one was stopped.
const clearTime = time.Minute

// clearPredecessor removes and reports what a process that died left behind.
func clearPredecessor(ctx context.Context, a *agent.Agent, shop *workshop, s *agentSettings, log *slog.Logger) error {
	left, err := a.Leftover()
	if err != nil {
		return err
	}
	var jobs []job.ID
	if left != nil {
		jobs = append(jobs, left.JobID)
		log.WarnContext(ctx, "an earlier process died in the middle of a job",
			"job_id", left.JobID, "job_name", left.JobName, "request_id", left.RequestID, "started", left.Started)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, clearTime, fmt.Errorf("removing the leftovers of an earlier job took longer than %s", clearTime))
	defer cancel()
	if err := shop.removeLeftovers(ctx, settings.AgentName(s.Agent), jobs, log); err != nil || left == nil {
		return err
	}
	return runner.RemoveTemp(ctx, s.Runner.Work)
}

// jobRunner runs the agent's jobs. One at a time is all an agent is sent.
type jobRunner struct {
	settings *agentSettings
	shop     *workshop
	log      *slog.Logger
	beat     func(running bool)
	nodes    runner.NodeVersions
	recent   *recent.Jobs // for the status page; nil: nobody looks
}

// run is the agent's [agent.JobFunc].
func (j *jobRunner) run(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
	seen := j.recent.Begin(m, c.AgentName, c.PoolName, pipelineOf(m))
	config := j.settings.Runner
	config.AgentName, config.AgentID, config.Once = c.AgentName, int(c.AgentID), c.Once
	config.AgentVersion, config.Beat = agent.Version, j.beat
	config.Wait = c.Wait
	config.CacheRepo, config.CacheExport, config.Insecure = j.settings.Job.CacheRepo, j.settings.Job.CacheExport, j.settings.Job.Insecure
	if host, err := os.Hostname(); err == nil {
		config.MachineName = host
	}
	if config.Nodes = &j.nodes; c.Tasks != nil {
		config.Tasks = c.Tasks
	}
	config.Network = taskNetwork(j.settings.Network)
	if c.Tests != nil {
		config.Tests = c.Tests
	}
	if c.Builds != nil {
		config.Builds = c.Builds
	}
	j.shop.equip(&config)
	r, err := runner.New(config, j.log)
	if err != nil {
		return "", err
	}
	began := time.Now()
	if !c.Wait.Queued.IsZero() {
		j.shop.metrics.JobWaited(began.Sub(c.Wait.Queued))
	}
	defer func() {
		j.shop.metrics.JobRan(time.Since(began))
		warnIf(ctx, j.log, "cannot give memory back", releaseMemory())
	}()
	outcome, err := r.Run(ctx, m, seen.Before(c.Reporter))
	return outcome.Result, err
}

// ended accounts for a job; it is for [agent.Deps]. [jobRunner.run] could not: it may
// panic or hang, and what it returns is not the result when the lock was lost.
func (j *jobRunner) ended(id job.ID, result job.Result) {
	j.recent.End(id, result)
	j.shop.metrics.JobEnded(result)
}

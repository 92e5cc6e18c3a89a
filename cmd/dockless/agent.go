package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner"
)

// agentSettings are all settings of `dockless agent`.
type agentSettings struct {
	agent   agent.Config
	entra   entra.Config
	network ado.NetworkConfig
	runner  runner.Config
	build   buildxsetup.Config
	podman  podmanrun.Config
	job     jobSettings
	log     logging.Config
}

func (s *agentSettings) load() error {
	if home, err := os.UserHomeDir(); err == nil {
		s.build.Home = home
	}
	s.network = proxies()
	err := loadSettings(&s.network, unchecked{&s.entra})
	s.agent.AzureConfigured = s.entra.Configured()
	// The runner checks its own settings once it has all of them.
	err = errors.Join(err, loadSettings(&s.log, &s.agent, &s.build, &s.podman, &s.job, unchecked{&s.runner}))
	if s.agent.UsesAzure() {
		if problems := s.entra.Validate(); problems != nil {
			err = errors.Join(err, usageError{problems})
		}
	}
	if err != nil {
		return err
	}
	return s.conceal()
}

func newAgentCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run as an agent of an Azure DevOps pool",
		Long: `agent registers with Azure DevOps, opens a session, and runs the jobs it is sent.
SIGTERM lets the running job end within DOCKLESS_DRAIN_TIMEOUT; then the agent
unregisters and exits with 0. A second signal ends it at once.

The settings come from the environment: AZP_URL and a credential are required,
AZP_TOKEN (or AZP_TOKEN_FILE) or an Azure identity (AZP_AUTH=azure);
BUILDKIT_HOST and CONTAINER_HOST say where BuildKit and Podman are.
docs/configuration.md has them all.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s agentSettings
			if err := s.load(); err != nil {
				return err
			}
			s.agent.Once = s.agent.Once || once
			return runAgent(cmd.Context(), &s, logging.New(cmd.ErrOrStderr(), s.log))
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "take one job, unregister and exit (DOCKLESS_ONCE)")
	return cmd
}

// runAgent boots in the order that lets a predecessor's leftovers go before
// anything new starts, and runs the agent until it ends.
func runAgent(ctx context.Context, s *agentSettings, log *slog.Logger) (err error) {
	if err := makeWorkFolder(s.runner.Work); err != nil {
		return err
	}
	in, err := openSignIn(ctx, s, log)
	if err != nil {
		return err
	}
	defer in.close()
	health, err := openHealth(s.job.ProbeFile, s.build.Timeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, health.close()) }()

	s.build.StateDir = filepath.Join(s.agent.StateDir, "buildkit")
	settings := workshopSettings{build: s.build, podman: s.podman, needBuilder: true, wantPodman: true}
	shop, err := settings.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shop.close(ctx)) }()

	run := &jobRunner{settings: s, shop: shop, log: log}
	a, err := agent.New(s.agent, run.run, agent.Deps{
		Log: log, Product: "dockless/" + version, Health: health.agent(),
		Capabilities: map[string]string{"dockless": version},
		Network:      in.network, Tokens: in.tokens,
	})
	if err != nil {
		return usageError{err}
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
		health.watch(over, gctx.Done(), shop, log)
		return nil
	})
	return g.Wait()
}

// agentName is the name under which containers are labelled.
func agentName(c agent.Config) string {
	if c.Name != "" {
		return c.Name
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "agent"
	}
	return host
}

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
	// A minute removes a stack that has to be killed, on a slow disk.
	const bound = time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("removing the leftovers of an earlier job took longer than %s", bound))
	defer cancel()
	if err := shop.removeLeftovers(ctx, agentName(s.agent), jobs, log); err != nil || left == nil {
		return err
	}
	// Scripts of the dead job lie there, with its secrets expanded in them.
	if err := os.RemoveAll(filepath.Join(s.runner.Work, "_temp")); err != nil {
		return fmt.Errorf("removing the temporary files of an earlier job: %w", err)
	}
	return nil
}

// jobRunner runs the agent's jobs. One at a time is all an agent is sent.
type jobRunner struct {
	settings *agentSettings
	shop     *workshop
	log      *slog.Logger
}

// run is the agent's [agent.JobFunc].
func (j *jobRunner) run(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
	config := j.settings.runner
	config.AgentName, config.AgentID, config.Once = c.AgentName, int(c.AgentID), c.Once
	config.AgentVersion = agent.Version
	config.CacheRepo, config.Insecure = j.settings.job.CacheRepo, j.settings.job.Insecure
	if host, err := os.Hostname(); err == nil {
		config.MachineName = host
	}
	j.shop.equip(&config, j.log)
	r, err := runner.New(config, j.log)
	if err != nil {
		return "", err
	}
	outcome, err := r.Run(ctx, m, c.Reporter)
	warnIf(ctx, j.log, "cannot give memory back", releaseMemory())
	return outcome.Result, err
}

package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/credentials"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/artifactdir"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner"
)

// replayer runs jobs on this machine. The workshop is opened for the first job
// that needs it, so that a pipeline of scripts needs neither BuildKit nor Podman.
type replayer struct {
	settings *agentSettings
	log      *slog.Logger
	screen   *terminal
	shop     *workshop

	artifactDir string             // where the user wants the artifacts; empty: in the state directory
	artifacts   *artifactdir.Store // of the run; nil before its first job
}

// artifactsAt returns where the artifacts of the run are, or "" when it has none.
func (r *replayer) artifactsAt() string {
	if r.artifacts == nil {
		return ""
	}
	return r.artifacts.Dir()
}

// storeFor returns where a job keeps artifacts. All jobs are of one run.
func (r *replayer) storeFor(m *job.Message) (*artifactdir.Store, error) {
	if r.artifacts != nil {
		return r.artifacts, nil
	}
	dir := r.artifactDir
	if dir != "" {
		var err error
		if dir, err = filepath.Abs(dir); err != nil {
			return nil, cmdline.Unusable(fmt.Errorf("finding the directory of --artifacts: %w", err))
		}
	}
	v, _ := job.Lookup(m.Variables, "build.buildId")
	build, _ := strconv.Atoi(v.Value) // without one nothing can be published, and the step says so
	r.artifacts = artifactdir.New(filepath.Join(settings.StateDir(), "runs"), build, dir)
	return r.artifacts, nil
}

func (r *replayer) close(ctx context.Context) error {
	if r.shop == nil {
		return nil
	}
	return r.shop.close(ctx)
}

func (r *replayer) run(ctx context.Context, dir string, jobs jobSource) (job.Report, error) {
	report := job.Report{Outputs: map[string]string{}, Variables: map[string]string{}, Builds: []job.BuildReport{}}
	name := replayName(dir)
	for ready := jobs.next(); len(ready) > 0 && ctx.Err() == nil; ready = jobs.next() {
		for _, m := range ready {
			if ctx.Err() != nil {
				break
			}
			outcome, err := r.runJob(ctx, name, m, jobs.limits(m.JobID))
			if err != nil {
				return report, err
			}
			if err := jobs.finish(m.JobID, outcome); err != nil {
				return report, err
			}
			maps.Copy(report.Outputs, outcome.Outputs)
			maps.Copy(report.Variables, outcome.Variables)
			report.Builds = append(report.Builds, outcome.Builds...)
		}
	}
	report.Result = jobs.result()
	if ctx.Err() != nil {
		report.Result = job.Canceled
	}
	return report, nil
}

// replayName names the replays of one directory, for its work folder and labels.
func replayName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	return "replay-" + strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, abs), "-")
}

func (r *replayer) runJob(ctx context.Context, name string, m *job.Message, l limits) (runner.Outcome, error) {
	if err := r.openFor(ctx, m); err != nil {
		return runner.Outcome{}, err
	}
	config := r.settings.Runner
	config.AgentName, config.AgentVersion = name, agent.Version
	config.CacheRepo, config.CacheExport, config.Insecure = r.settings.Job.CacheRepo, r.settings.Job.CacheExport, r.settings.Job.Insecure
	if host, err := os.Hostname(); err == nil {
		config.MachineName = host
	}
	if os.Getenv("AZP_WORK") == "" {
		config.Work = filepath.Join(settings.StateDir(), "replay", name)
	}
	if err := makeWorkFolder(config.Work); err != nil {
		return runner.Outcome{}, err
	}
	store, err := r.storeFor(m)
	if err != nil {
		return runner.Outcome{}, err
	}
	config.Builds = store
	if config.Registries, err = credentials.OpenCloud(r.log); err != nil {
		return runner.Outcome{}, err
	}
	r.shop.equip(&config)
	if r.shop.podman != nil {
		// An earlier replay of this directory may have been killed.
		if _, err := r.shop.podman.RemoveOwned(ctx, podmanrun.Owner{Agent: name}); err != nil {
			return runner.Outcome{}, err
		}
	}
	run, err := runner.New(config, r.log)
	if err != nil {
		return runner.Outcome{}, cmdline.Unusable(err)
	}
	ctx, release := endingAsCanceled(ctx)
	defer release()
	if l.run > 0 {
		stop := &job.Stop{Reason: job.StopCanceled, Message: fmt.Sprintf("the job ran longer than its maximum of %s", l.run), Grace: l.end}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.run, stop)
		defer cancel()
	}
	return run.Run(ctx, m, r.screen)
}

// endingAsCanceled returns a context for a job: an interrupted replay cancels
// it as the server's cancel button does, so steps with always() still run.
func endingAsCanceled(ctx context.Context) (context.Context, context.CancelFunc) {
	const grace = time.Minute // for clean-up; whoever is in a hurry interrupts twice
	jobCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cancel(&job.Stop{Reason: job.StopCanceled, Message: "the replay was " + context.Cause(ctx).Error(), Grace: grace})
	})
	return jobCtx, func() { stop(); cancel(nil) }
}

// makeWorkFolder says before a job starts that it has no place to work.
func makeWorkFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // steps may run as other users in containers
		return hint.With(cmdline.Unusable(fmt.Errorf("making the work folder: %w", err)), "set AZP_WORK to a directory that can be written")
	}
	return nil
}

// taskDocker is the id of Docker@2.
const taskDocker = "e28912f1-0114-4464-802a-a3a35437fd16"

// openFor opens the workshop, or another part of it, for a job that needs it.
// What was named in the settings is opened in any case: scripts may use it.
func (r *replayer) openFor(ctx context.Context, m *job.Message) error {
	needBuilder := r.settings.Build.Hosts != ""
	wantPodman := r.settings.Podman.Host != "" || m.NeedsContainers()
	for _, s := range m.Steps {
		if strings.EqualFold(s.Reference.ID, taskDocker) {
			needBuilder, wantPodman = true, true
		}
	}
	if r.shop != nil && (!needBuilder || r.shop.builder != nil) && (!wantPodman || r.shop.podman != nil) {
		return nil
	}
	if r.shop != nil {
		if err := r.shop.close(ctx); err != nil {
			return err
		}
	}
	s := workshopSettings{build: r.settings.Build, podman: r.settings.Podman, needBuilder: needBuilder, wantPodman: wantPodman, state: filepath.Join(settings.StateDir(), "builds")}
	s.build.StateDir = settings.StateDir()
	shop, err := s.open(ctx, r.log)
	if err != nil {
		return err
	}
	r.shop = shop
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/imageworks"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner"
)

// workshop is what jobs are run with: the builder and Podman, as far as there
// are any.
type workshop struct {
	builder *buildxsetup.Builder // nil: builds fail with a hint
	images  *imagebuild.Builder  // on builder; nil when that is
	gate    *buildxsetup.Gate    // nil: no look at the builder's disk
	podman  *podmanrun.Client    // nil: services fail with a hint
	log     *slog.Logger
	metrics *metrics.Metrics // of what is done with both; nil: nobody asks
}

// workshopSettings say how a workshop is opened. A part that was named and does
// not answer is an error; one that was not named and is not there is left out.
type workshopSettings struct {
	build                   buildxsetup.Config
	podman                  podmanrun.Config
	needBuilder, wantPodman bool
	// state is where builds keep what they learn; empty keeps it in memory.
	state   string
	metrics *metrics.Metrics // nil: nobody asks
}

// open opens both parts at the same time.
func (s workshopSettings) open(ctx context.Context, log *slog.Logger) (_ *workshop, err error) {
	w := &workshop{log: log, metrics: s.metrics}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close(ctx))
		}
	}()
	g, gctx := errgroup.WithContext(ctx)
	// Where the docker command finds Podman, it finds there what it has built.
	s.build.Load = s.wantPodman
	if s.needBuilder {
		g.Go(func() (err error) {
			w.builder, err = buildxsetup.Ensure(gctx, s.build, log)
			if err != nil && s.build.Hosts == "" && gctx.Err() == nil {
				log.WarnContext(ctx, "no builder, steps that build images will fail", "error", err)
				return nil
			}
			if err == nil {
				if w.gate, err = imageworks.OpenGate(s.build, log); err == nil {
					w.images = imagebuild.New(w.builder, log, imageworks.Gated(imagebuild.Options{StateDir: s.state, Observe: s.metrics.Build, Queue: s.metrics.Exporting}, w.gate))
				}
			}
			return err
		})
	}
	if s.wantPodman {
		g.Go(func() (err error) {
			w.podman, err = podmanrun.Open(gctx, s.podman, log)
			if err != nil && s.podman.Host == "" && gctx.Err() == nil {
				log.WarnContext(ctx, "no Podman, jobs with services will fail", "error", err)
				return nil
			}
			return err
		})
	}
	return w, g.Wait()
}

// close waits for the cache exports of builds, unless ctx has ended: whoever stops
// an agent wants it gone.
func (w *workshop) close(ctx context.Context) error {
	var errs []error
	if w.images != nil {
		imageworks.Close(ctx, w.images, w.log)
	}
	if w.podman != nil {
		errs = append(errs, w.podman.Close())
	}
	w.gate.Close()
	if w.builder != nil {
		errs = append(errs, w.builder.Close(ctx))
	}
	return errors.Join(errs...)
}

// equip gives a runner's settings the parts of the workshop.
func (w *workshop) equip(c *runner.Config) {
	c.Podman, c.Builder = w.podman, w.images
	c.Environment = append(c.Environment, inherited()...)
	if w.builder != nil {
		// Scripts that call buildx use the same builder, whatever is current.
		c.Environment = append(c.Environment, w.builder.Environment()...)
	}
	c.DockerConfig = settings.DockerConfigDir()
	// Steps find this program whatever PATH the agent was started with.
	if self, err := os.Executable(); err == nil {
		c.Path = append(c.Path, filepath.Dir(self))
	}
	c.Launcher = "/proc/self/exe" // the very file that runs, even after an update has replaced it
}

// removeLeftovers ends the processes of dead jobs of this agent and removes
// their containers, networks and volumes. Processes go first: one of them could
// be about to make another container.
func (w *workshop) removeLeftovers(ctx context.Context, agentName string, jobs []job.ID, log *slog.Logger) error {
	for _, id := range jobs {
		ended, err := runner.KillLeftovers(ctx, agentName, id)
		if err != nil {
			return fmt.Errorf("ending the processes of job %s: %w", id, err)
		}
		for _, p := range ended {
			log.WarnContext(ctx, "ended a process of a dead job", "job_id", id, "pid", p.PID, "name", p.Name)
		}
	}
	if w.podman == nil {
		return nil
	}
	removed, err := w.podman.RemoveOwned(ctx, podmanrun.Owner{Agent: agentName})
	if err != nil {
		return fmt.Errorf("removing what earlier jobs left: %w", err)
	}
	if !removed.Empty() {
		log.WarnContext(ctx, "removed what a dead job left",
			"pods", removed.Pods, "containers", removed.Containers, "networks", removed.Networks, "volumes", removed.Volumes)
	}
	return nil
}

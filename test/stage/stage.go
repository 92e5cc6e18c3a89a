// Package stage knows how to put the whole system on one machine: registries,
// buildkitd and Podman from the rig, and beside them our own programs as a user
// runs them, `dockless emulator` and `dockless agent`. The demo, the benchmarks
// and the integration tests play on it.
//
// One use flows like this: [Start] starts the parts, [Stage.StartAgent] an
// agent, [Stage.QueuePipeline] a job, [Stage.Wait] and [Stage.Report] tell how it
// ended; [Stage.Stop] ends everything in reverse order and removes it.
package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/dockless-ci/dockless/test/rig"
)

// PAT registers the stage's agents with its emulator.
const PAT = "stage-personal-access-token"

// stopTimeout bounds the end of everything: an agent unregisters, a Podman
// removes containers, mounts are undone.
const stopTimeout = 2 * time.Minute

var errStopTimeout = fmt.Errorf("ending the stage took longer than %s", stopTimeout)

// Options say what a stage needs. The zero value has every part.
type Options struct {
	NoBuildkitd, NoPodman, NoRegistry bool
	EmulatorFlags                     []string // further flags of dockless emulator
	// Started, when set, is told each part that is up and how long it took.
	Started func(part string, took time.Duration)
}

// Stage is a running system. Its methods may be called concurrently, Stop once.
type Stage struct {
	Dir       string // private, short-lived
	URL       string // of the emulator
	Mirror    string // host:port of the base images, which stand in for docker.io
	Registry  *rig.Registry
	Buildkitd *rig.Buildkitd
	Podman    *rig.Podman

	binary  string
	closers []func(context.Context) error
}

// Start starts the parts of a stage. The stage it returns is never nil: after an
// error, Stop ends what was started before.
func Start(ctx context.Context, o Options) (*Stage, error) {
	s := &Stage{}
	for _, part := range []struct {
		name  string
		skip  bool
		start func(context.Context) error
	}{
		{"workspace", false, s.makeDir},
		{"base images", o.NoBuildkitd && o.NoPodman, s.startImages},
		{"registry", o.NoRegistry, s.startRegistry},
		{"buildkitd", o.NoBuildkitd, s.startBuildkitd},
		{"Podman", o.NoPodman, s.startPodman},
		{"Azure DevOps emulator", false, func(ctx context.Context) error { return s.startEmulator(ctx, o.EmulatorFlags) }},
	} {
		if part.skip {
			continue
		}
		at := time.Now()
		if err := part.start(ctx); err != nil {
			return s, fmt.Errorf("starting the %s: %w", part.name, err)
		}
		if o.Started != nil {
			o.Started(part.name, time.Since(at))
		}
	}
	return s, nil
}

// Stop ends all parts, last one first, and removes the stage's directory.
func (s *Stage) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), stopTimeout, errStopTimeout)
	defer cancel()
	var errs []error
	for _, closer := range slices.Backward(s.closers) {
		errs = append(errs, closer(ctx))
	}
	return errors.Join(errs...)
}

func (s *Stage) onStop(f func(context.Context) error) { s.closers = append(s.closers, f) }

func (s *Stage) makeDir(context.Context) error {
	dir, err := os.MkdirTemp("", "dockless-stage-")
	if err != nil {
		return err
	}
	s.Dir = dir
	s.onStop(func(context.Context) error { return os.RemoveAll(dir) })
	s.binary, err = rig.Bin("dockless")
	return err
}

func (s *Stage) startImages(ctx context.Context) error {
	images, err := rig.StartImages(ctx)
	if err != nil {
		return err
	}
	s.onStop(images.Stop)
	s.Mirror = images.Addr()
	return nil
}

func (s *Stage) startRegistry(ctx context.Context) (err error) {
	if s.Registry, err = rig.StartRegistry(ctx, rig.RegistryOptions{}); err == nil {
		s.onStop(s.Registry.Stop)
	}
	return err
}

func (s *Stage) startBuildkitd(ctx context.Context) (err error) {
	if s.Buildkitd, err = rig.StartBuildkitd(ctx, rig.BuildkitdOptions{Mirror: s.Mirror}); err == nil {
		s.onStop(s.Buildkitd.Stop)
	}
	return err
}

func (s *Stage) startPodman(ctx context.Context) (err error) {
	o := rig.PodmanOptions{Mirror: s.Mirror}
	if s.Registry != nil {
		o.Insecure = append(o.Insecure, s.Registry.Addr())
	}
	if s.Podman, err = rig.StartPodman(ctx, o); err == nil {
		s.onStop(s.Podman.Stop)
	}
	return err
}

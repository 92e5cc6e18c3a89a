package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/test/rig"
)

// buildContext makes a context whose build is eight small steps.
func (b *bench) buildContext() (string, error) {
	dir := filepath.Join(b.stage.Dir, "bench-build")
	var file strings.Builder
	file.WriteString("FROM busybox\nCOPY data /data\n")
	for i := range 8 {
		fmt.Fprintf(&file, "RUN echo %d > /%d && sha256sum /data > /sum%d\n", i, i, i)
	}
	return dir, errors.Join(os.MkdirAll(dir, 0o750), os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "data"), make([]byte, 4<<20), 0o600))
}

// closeRounds is for peers of which ours may differ by 3 %: one build in turn with
// another differs by 5 to 10 % here, the medians of 40 by 1 to 2 %.
const closeRounds = 40

// buildAgainst compares rounds builds of that context with as many of a peer's, every
// step run and nothing exported.
func (b *bench) buildAgainst(ctx context.Context, rounds int, limit float64, peer func(dir string) *exec.Cmd) (result, error) {
	dir, err := b.buildContext()
	if err != nil {
		return result{}, err
	}
	ours := func() (time.Duration, error) {
		return b.program(ctx, "dockless", nil, "build", dir, "--no-cache", "--progress", "plain", "--cache-repo", "")
	}
	theirs := func() (time.Duration, error) {
		return timed(func() error {
			cmd := peer(dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, out)
			}
			return nil
		})
	}
	if _, _, err := alternate(1, ours, theirs); err != nil { // pulls the base image
		return result{}, err
	}
	o, p, err := alternate(b.times(rounds), ours, theirs)
	if err != nil {
		return result{}, err
	}
	return compare(o, p, limit), nil
}

// buildRow compares with the plain client of the same daemon: the same solve.
func buildRow(ctx context.Context, b *bench) (result, error) {
	return b.buildAgainst(ctx, closeRounds, 1.03, func(dir string) *exec.Cmd {
		return b.stage.Buildkitd.BuildctlCommand(ctx, "build", "--progress", "plain", "--no-cache", "--frontend", "dockerfile.v0",
			"--local", "context="+dir, "--local", "dockerfile="+dir)
	})
}

// buildxRow compares with buildx on the same daemon.
func buildxRow(ctx context.Context, b *bench) (result, error) {
	buildx, err := rig.Bin("docker-buildx")
	if err != nil {
		return result{}, err
	}
	if _, err := b.program(ctx, "dockless", nil, "builder", "ensure"); err != nil {
		return result{}, err
	}
	return b.buildAgainst(ctx, closeRounds, 1.03, func(dir string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, buildx, "build", "--builder", "dockless", "--no-cache", "--progress", "plain", "--provenance=false",
			"--output", "type=cacheonly", dir)
		cmd.Env = append(os.Environ(), b.stage.AgentEnv("bench")...)
		return cmd
	})
}

// buildahRow compares with the builder that needs no daemon. It ends with an
// image in its store, which is its only way to end.
func buildahRow(ctx context.Context, b *bench) (result, error) {
	buildah, err := exec.LookPath("buildah")
	if err != nil {
		return result{}, err
	}
	return b.buildAgainst(ctx, 10, 1, func(dir string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, buildah, "bud", "--no-cache", "--layers=false", "--runtime", "runc", "--tag", "bench", dir)
		cmd.Env = b.stage.Podman.Command(ctx).Env // its storage and its registries
		return cmd
	})
}

// program times one of our programs with the stage's settings and more.
func (b *bench) program(ctx context.Context, name string, env []string, args ...string) (time.Duration, error) {
	binary, err := rig.Bin(name)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(append(os.Environ(), b.stage.AgentEnv("bench")...), append([]string{"DOCKLESS_CACHE_REPO="}, env...)...)
	return timed(func() error {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", name, args[0], err, out)
		}
		return nil
	})
}

// cacheRow builds the example on an empty builder: with the registry cache that
// a build before has filled, and without any.
func cacheRow(ctx context.Context, b *bench) (result, error) {
	repo, _, err := b.stage.Shop(ctx)
	if err != nil {
		return result{}, err
	}
	build := func(cacheRepo string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			if err := b.stage.Buildkitd.Prune(ctx); err != nil {
				return 0, err
			}
			return b.program(ctx, "dockless", []string{"DOCKLESS_CACHE_REPO=" + cacheRepo, "LICENSE=bench"},
				"build", repo, "--progress", "plain", "--secret", "id=license,env=LICENSE")
		}
	}
	warm := build(b.stage.Registry.Addr() + "/bench-cache")
	if _, err := warm(); err != nil { // fills the registry
		return result{}, err
	}
	o, p, err := alternate(b.times(5), warm, build(""))
	if err != nil {
		return result{}, err
	}
	r := compare(o, p, 1.0/5)
	r.ratio = fmt.Sprintf("%.1f × faster", float64(median(p))/float64(median(o)))
	return r, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dockless-ci/dockless/test/rig"
)

// platformsContext makes a context whose work depends on the platform. With cross,
// the work is done on the node's own platform and its result copied, as
// compilers do it; without, on the platform itself.
func (b *bench) platformsContext(name string, cross bool) (string, error) {
	dir := filepath.Join(b.stage.Dir, name)
	from := "FROM busybox AS build\n"
	if cross {
		from = "FROM --platform=$BUILDPLATFORM busybox AS build\n"
	}
	file := from + "ARG TARGETARCH\nCOPY data /data\n" +
		"RUN for i in $(seq 60); do sha512sum /data; done > /$TARGETARCH\nRUN gzip -9 < /data > /packed\n" +
		"FROM busybox\nCOPY --from=build /packed /\n"
	data := make([]byte, 8<<20)
	for i := range data {
		data[i] = byte(i * i >> 7 & 0xff) // something that gzip has to work for
	}
	return dir, errors.Join(os.MkdirAll(dir, 0o750), os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o600),
		os.WriteFile(filepath.Join(dir, "data"), data, 0o600))
}

// cacheTwoPlatformsRow builds for two platforms, one of them emulated, on an empty
// builder: with the registry cache that a build before has filled, and without.
func cacheTwoPlatformsRow(ctx context.Context, b *bench) (_ result, err error) {
	platform, release, err := rig.StartEmulator(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	daemon, err := rig.StartBuildkitd(ctx, rig.BuildkitdOptions{Mirror: b.stage.Mirror}) // which looks for emulators as it starts
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, daemon.Stop(ctx)) }()
	dir, err := b.platformsContext("bench-platforms", false)
	if err != nil {
		return result{}, err
	}
	build := func(cacheRepo string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			if err := daemon.Prune(ctx); err != nil {
				return 0, err
			}
			return b.program(ctx, "dockless", []string{"BUILDKIT_HOST=" + daemon.Addr(), "DOCKLESS_CACHE_REPO=" + cacheRepo},
				"build", dir, "--progress", "plain", "--platform", platform+","+rig.Platform())
		}
	}
	warm := build(b.stage.Registry.Addr() + "/bench-platforms")
	if _, err := warm(); err != nil { // fills the registry
		return result{}, err
	}
	o, p, err := alternate(b.times(3), warm, build(""))
	if err != nil {
		return result{}, err
	}
	r := compare(o, p, 1.0/5)
	r.ratio = fmt.Sprintf("%.1f × faster", float64(median(p))/float64(median(o)))
	return r, nil
}

// twoNodesRow builds one image for two platforms on two nodes, and compares with
// the same two solves one after the other, which end as two images.
func twoNodesRow(ctx context.Context, b *bench) (_ result, err error) {
	dir, err := b.platformsContext("bench-nodes", true)
	if err != nil {
		return result{}, err
	}
	platforms := []string{"linux/amd64", "linux/arm64"}
	var daemons []*rig.Buildkitd
	hosts := ""
	for _, p := range platforms {
		d, err := rig.StartBuildkitd(ctx, rig.BuildkitdOptions{Mirror: b.stage.Mirror})
		if err != nil {
			return result{}, err
		}
		defer func() { err = errors.Join(err, d.Stop(ctx)) }()
		daemons, hosts = append(daemons, d), hosts+","+d.Addr()+"?platforms="+p
	}
	image := b.stage.Registry.Addr() + "/bench-nodes"
	ours := func() (time.Duration, error) {
		return b.program(ctx, "dockless", []string{"BUILDKIT_HOST=" + hosts[1:], "DOCKLESS_CACHE_REPO="},
			"build", dir, "--no-cache", "--progress", "plain", "--platform", "linux/amd64,linux/arm64", "-t", image+":ours", "--push")
	}
	peer := func() (time.Duration, error) {
		return timed(func() error {
			for i, d := range daemons {
				_, err := d.Buildctl(ctx, "build", "--progress", "plain", "--no-cache", "--frontend", "dockerfile.v0", "--local", "context="+dir,
					"--local", "dockerfile="+dir, "--opt", "platform="+platforms[i], "--output", fmt.Sprintf("type=image,name=%s:peer%d,push=true", image, i))
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if _, _, err := alternate(1, ours, peer); err != nil { // pulls the base images
		return result{}, err
	}
	o, p, err := alternate(b.times(5), ours, peer)
	if err != nil {
		return result{}, err
	}
	return compare(o, p, 0.8), nil
}

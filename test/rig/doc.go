// Package rig knows how to start the real programs that tests, the demo and
// the benchmarks talk to, and how to leave nothing of them behind: buildkitd,
// a Podman service and registries.
//
// Every component gets a private directory with a short name (a unix socket's
// path ends at 108 bytes), its own sockets, ports and container subnets, so
// that several rigs live beside each other and beside the user's own
// containers. One use flows like this:
//
//	mirror, err := rig.StartImages(ctx)             // test/images as docker.io
//	builder, err := rig.StartBuildkitd(ctx, rig.BuildkitdOptions{Mirror: mirror.Addr()})
//	engine, err := rig.StartPodman(ctx, rig.PodmanOptions{Mirror: mirror.Addr()})
//	… builder.Addr(), engine.Addr() …
//	err = errors.Join(engine.Stop(ctx), builder.Stop(ctx), mirror.Stop(ctx))
//
// In tests the Need functions ([NeedBuildkitd], [NeedPodman], …) do the same
// with the test's clean-up; a missing component fails the test and names
// hack/setup.sh. A process that was killed cannot clean up: the next rig to
// start finds its directory, whose lock is free, and removes what is left.
package rig

package rig

import (
	"context"
	"testing"
)

// NeedImages serves the base images of test/images as the docker.io mirror
// until the test ends.
func NeedImages(tb testing.TB) *Registry {
	tb.Helper()
	registry, err := StartImages(tb.Context())
	if err != nil {
		tb.Fatalf("serving the base images: %v", err)
	}
	stopAfter(tb, "the mirror", registry.Stop)
	return registry
}

// NeedRegistry starts a registry until the test ends.
func NeedRegistry(tb testing.TB, opts RegistryOptions) *Registry {
	tb.Helper()
	registry, err := StartRegistry(tb.Context(), opts)
	if err != nil {
		tb.Fatalf("starting a registry: %v", err)
	}
	stopAfter(tb, "the registry", registry.Stop)
	return registry
}

// NeedBuildkitd starts buildkitd until the test ends. When the test has failed,
// the end of buildkitd's log is shown.
func NeedBuildkitd(tb testing.TB, opts BuildkitdOptions) *Buildkitd {
	tb.Helper()
	builder, err := StartBuildkitd(tb.Context(), opts)
	if err != nil {
		tb.Fatalf("starting buildkitd: %v", err)
	}
	stopAfter(tb, "buildkitd", builder.Stop)
	KeepLog(tb, "buildkitd", builder.Log())
	return builder
}

// NeedPodman starts a Podman service until the test ends. When the test has
// failed, the end of Podman's log is shown.
func NeedPodman(tb testing.TB, opts PodmanOptions) *Podman {
	tb.Helper()
	podman, err := StartPodman(tb.Context(), opts)
	if err != nil {
		tb.Fatalf("starting Podman: %v", err)
	}
	stopAfter(tb, "Podman", podman.Stop)
	KeepLog(tb, "podman", podman.Log())
	return podman
}

// NeedBin returns the path of a program that hack/setup.sh provides.
func NeedBin(tb testing.TB, name string) string {
	tb.Helper()
	path, err := Bin(name)
	if err != nil {
		tb.Fatalf("finding a program: %v", err)
	}
	return path
}

// stopAfter ends a component with the test, whose context has ended by then.
func stopAfter(tb testing.TB, name string, stop func(context.Context) error) {
	tb.Helper()
	tb.Cleanup(func() {
		if err := stop(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("stopping %s: %v", name, err)
		}
	})
}

package integration_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/test/rig"
)

// buildLog is the log of builders in tests: nothing, unless the test fails.
func buildLog(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// dockerConfig makes a private Docker configuration with the buildx plugin.
func dockerConfig(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	plugins := filepath.Join(dir, "cli-plugins")
	if err := os.MkdirAll(plugins, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(rig.NeedBin(t, "docker-buildx"), filepath.Join(plugins, "docker-buildx")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// docker runs the docker CLI as a script step does and returns what it printed.
func docker(t *testing.T, config string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, rig.NeedBin(t, "docker"), args...)
	cmd.Env = append([]string{"DOCKER_CONFIG=" + config, "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// needBuilder ensures a builder and closes it with the test.
func needBuilder(t *testing.T, c buildxsetup.Config) *buildxsetup.Builder {
	t.Helper()
	b, err := buildxsetup.Ensure(t.Context(), c, buildLog(t))
	if err != nil {
		t.Fatalf("ensuring the builder: %v (hints %q)", err, hint.All(err))
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("closing the builder: %v", err)
		}
	})
	return b
}

// writeTree writes files, by relative path, into a new directory.
func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDockerBuildxUsesTheEnsuredBuilder(t *testing.T) {
	images := rig.NeedImages(t)
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: images.Addr()})
	config := dockerConfig(t)
	builder := needBuilder(t, buildxsetup.Config{Hosts: daemon.Addr(), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: config})
	for name, env := range map[string][]string{
		"without DOCKER_HOST":          nil,
		"with DOCKER_HOST of a script": {"DOCKER_HOST=unix:///run/somewhere/podman.sock"},
		"with another configuration":   builder.Environment(),
	} {
		t.Run(name, func(t *testing.T) {
			config := config
			if name == "with another configuration" { // as after a login
				config = dockerConfig(t)
			}
			list := docker(t, config, env, "buildx", "ls", "--format", "{{.Name}} {{.DriverEndpoint}} {{.Status}}")
			if !strings.Contains(list, "dockless0") {
				t.Errorf("docker buildx ls:\n%s\nwant the node dockless0", list)
			}
			inspect := docker(t, config, env, "buildx", "inspect")
			for _, want := range []string{"dockless", "remote", daemon.Addr(), "running", "linux/amd64"} {
				if !strings.Contains(inspect, want) {
					t.Errorf("docker buildx inspect:\n%s\nwant %q", inspect, want)
				}
			}
			dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo built > /out.txt\nFROM scratch\nCOPY --from=0 /out.txt /\n"})
			out := t.TempDir()
			docker(t, config, env, "buildx", "build", "--output", out, dir)
			if got, err := os.ReadFile(filepath.Join(out, "out.txt")); err != nil || string(got) != "built\n" {
				t.Errorf("docker buildx build wrote %q, %v", got, err)
			}
		})
	}
}

func TestTheOwnBuildkitdEndsWithTheBuilder(t *testing.T) {
	bin := filepath.Dir(rig.NeedBin(t, "buildkitd"))
	runc := filepath.Dir(rig.NeedBin(t, "runc"))
	t.Setenv("PATH", strings.Join([]string{bin, runc, os.Getenv("PATH")}, string(os.PathListSeparator)))
	// A socket's path has at most 108 bytes, so the state is not in t.TempDir.
	state, err := os.MkdirTemp("", "own") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(state); err != nil {
			t.Errorf("removing the state: %v", err)
		}
	})
	config := dockerConfig(t)
	previous := `{"Key":"default","Name":"","Global":false}`
	if err := os.MkdirAll(filepath.Join(config, "buildx"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "buildx", "current"), []byte(previous), 0o600); err != nil {
		t.Fatal(err)
	}
	c := buildxsetup.Config{Name: "dockless", Timeout: 30 * time.Second, DockerConfig: config, StateDir: state}
	b, err := buildxsetup.Ensure(t.Context(), c, buildLog(t))
	if err != nil {
		t.Fatalf("ensuring a builder of our own: %v", err)
	}
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY file /\n", "file": "content"})
	result, err := imagebuild.New(b, buildLog(t), imagebuild.Options{}).Build(t.Context(), imagebuild.Request{Context: dir, Tags: []string{"own:1"}}, imagebuild.Progress{})
	if err != nil || result.Digest == "" {
		t.Errorf("building on it = %+v, %v", result, err)
	}
	if !b.Owned() {
		t.Error("the builder is not owned")
	}
	// A second one uses it and leaves it running.
	second, err := buildxsetup.Ensure(t.Context(), c, buildLog(t))
	if err != nil || second.Owned() {
		t.Errorf("a second builder = %+v, %v, want the first one's buildkitd", second, err)
	}
	node := b.Nodes[0]
	if err := b.Close(t.Context()); err != nil {
		t.Errorf("closing: %v", err)
	}
	if _, err := node.Ping(t.Context()); err == nil {
		t.Error("its buildkitd still answers")
	}
	if _, err := os.Stat(filepath.Join(config, "buildx", "instances", "dockless")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its record is still there: %v", err)
	}
}

func TestAnOwnBuildkitdThatFailsToStartSaysWhy(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho 'first line' >&2\necho 'no space left on this planet' >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "buildkitd"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	c := buildxsetup.Config{Name: "dockless", Timeout: 30 * time.Second, DockerConfig: t.TempDir(), StateDir: t.TempDir()}
	start := time.Now()
	_, err := buildxsetup.Ensure(t.Context(), c, buildLog(t))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no space left on this planet") {
		t.Errorf("Ensure() = %v, want the exit status and the last words", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("Ensure() took %s to see that", took)
	}
	if len(hint.All(err)) == 0 {
		t.Error("there is no hint")
	}
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/test/rig"
)

// pat registers the demo's agent with the demo's emulator.
const pat = "demo-personal-access-token"

// stopTimeout is how long the agent may take to unregister, and the programs of
// the stage to end.
const stopTimeout = 30 * time.Second

// stage is everything the demo starts. Its parts end in reverse order.
type stage struct {
	dir       string // private; removed at the end
	source    string // a repository with examples/shop in it
	url       string // of the emulator
	mirrorOf  string // address of the base images
	registry  *rig.Registry
	buildkitd *rig.Buildkitd
	podman    *rig.Podman
	agentLog  string
	closers   []func(context.Context) error
}

// startStage starts all parts. The stage it returns is never nil, so that stop
// ends what was started before an error.
func startStage(ctx context.Context) (*stage, error) {
	s := &stage{}
	begin := time.Now()
	for _, part := range []struct {
		name  string
		start func(context.Context) error
	}{
		{"workspace", s.makeDir},
		{"base images and registry", s.startRegistries},
		{"buildkitd", s.startBuildkitd},
		{"Podman", s.startPodman},
		{"Azure DevOps emulator", s.startEmulator},
		{"agent", s.startAgent},
	} {
		at := time.Now()
		if err := part.start(ctx); err != nil {
			return s, fmt.Errorf("starting the %s: %w", part.name, err)
		}
		fmt.Printf("started %-26s %s\n", part.name, time.Since(at).Round(time.Millisecond))
	}
	fmt.Printf("everything is up after %s\n", time.Since(begin).Round(time.Millisecond))
	return s, nil
}

// stop ends the parts in reverse order and removes the directory.
func (s *stage) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 2*time.Minute, errors.New("ending the demo took too long"))
	defer cancel()
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i](ctx))
	}
	return errors.Join(errs...)
}

func (s *stage) onStop(f func(context.Context) error) { s.closers = append(s.closers, f) }

func (s *stage) makeDir(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "dockless-demo-")
	if err != nil {
		return err
	}
	s.dir = dir
	s.onStop(func(context.Context) error { return os.RemoveAll(dir) })
	root, err := rig.Root()
	if err != nil {
		return err
	}
	s.source = filepath.Join(dir, "shop")
	if err := os.CopyFS(s.source, os.DirFS(filepath.Join(root, "examples", "shop"))); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all"},
		{"-c", "user.name=Demo", "-c", "user.email=demo@example.com", "commit", "--quiet", "--message=sell apples"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = s.source
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

func (s *stage) startRegistries(ctx context.Context) error {
	images, err := rig.StartImages(ctx)
	if err != nil {
		return err
	}
	s.onStop(images.Stop)
	s.registry, err = rig.StartRegistry(ctx, rig.RegistryOptions{})
	if err != nil {
		return err
	}
	s.onStop(s.registry.Stop)
	s.mirrorOf = images.Addr()
	return nil
}

func (s *stage) startBuildkitd(ctx context.Context) (err error) {
	s.buildkitd, err = rig.StartBuildkitd(ctx, rig.BuildkitdOptions{Mirror: s.mirrorOf})
	if err == nil {
		s.onStop(s.buildkitd.Stop)
	}
	return err
}

func (s *stage) startPodman(ctx context.Context) (err error) {
	s.podman, err = rig.StartPodman(ctx, rig.PodmanOptions{Mirror: s.mirrorOf})
	if err == nil {
		s.onStop(s.podman.Stop)
	}
	return err
}

func (s *stage) startEmulator(ctx context.Context) error {
	binary, err := rig.Bin("dockless")
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, "emulator", "--addr", "127.0.0.1:0", "--pat", pat, "--state", filepath.Join(s.dir, "emulator"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.onStop(func(ctx context.Context) error { return end(ctx, "the emulator", cmd) })
	var ready struct{ URL string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	s.url = ready.URL
	return err
}

func (s *stage) startAgent(ctx context.Context) error {
	binary, err := rig.Bin("dockless")
	if err != nil {
		return err
	}
	s.agentLog = filepath.Join(s.dir, "agent.log")
	log, err := os.Create(s.agentLog)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(binary, "agent")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(),
		"AZP_URL="+s.url, "AZP_TOKEN="+pat, "AZP_POOL=Default", "AZP_AGENT_NAME=demo",
		"AZP_WORK="+filepath.Join(s.dir, "work"),
		"BUILDKIT_HOST="+s.buildkitd.Addr(),
		"CONTAINER_HOST="+s.podman.Addr(),
		"DOCKER_CONFIG="+filepath.Join(s.dir, "docker"),
		"DOCKLESS_CACHE_REPO="+s.registry.Addr()+"/cache",
		"DOCKLESS_STATE_DIR="+filepath.Join(s.dir, "state"),
		"DOCKLESS_PROBE_FILE="+filepath.Join(s.dir, "probe"),
		"LOG_FORMAT=json",
	)
	if err := cmd.Start(); err != nil {
		return err
	}
	s.onStop(func(ctx context.Context) error {
		if err := end(ctx, "the agent", cmd); err != nil {
			return fmt.Errorf("%w; its log ends with:\n%s", err, tail(s.agentLog))
		}
		return nil
	})
	return nil
}

// end asks a program to stop and waits for it.
func end(ctx context.Context, name string, cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", name, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	err := cmd.Process.Kill()
	<-done
	return errors.Join(fmt.Errorf("%s did not stop within %s", name, stopTimeout), err)
}

// tail returns the last lines of a file, for an error message.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // read only
	content, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	const most = 30 // lines: what fits beside the error on a screen
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

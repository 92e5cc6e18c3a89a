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

// coldFile is a database as tests use it; what makes it warm comes behind it.
const coldFile = `services:
  db:
    image: mysql:8
    environment:
      MYSQL_ROOT_PASSWORD: example
      MYSQL_DATABASE: shop
    healthcheck:
      test: ["CMD", "mysqladmin", "ping", "-h", "127.0.0.1", "-uroot", "-pexample"]
      interval: 1s
      retries: 120
`

const warmKey = "    x-dockless: {warm: true}\n"

// startedFile has nothing that anybody waits for.
const startedFile = `services:
  a: {image: busybox, command: [sleep, "3600"], init: true}
  b: {image: busybox, command: [sleep, "3600"], init: true, depends_on: [a]}
  c: {image: redis:7}
`

// fileIn writes a compose file into a directory of its own, which names the project.
func (b *bench) fileIn(name, content string) (string, error) {
	dir := filepath.Join(b.stage.Dir, name)
	path := filepath.Join(dir, "compose.yml")
	return path, errors.Join(os.MkdirAll(dir, 0o750), os.WriteFile(path, []byte(content), 0o600))
}

// stackWarmRow starts MySQL from what an earlier start left, and from nothing. The
// start that keeps it is not measured.
func stackWarmRow(ctx context.Context, b *bench) (result, error) {
	cold, err := b.fileIn("bench-cold", coldFile)
	if err != nil {
		return result{}, err
	}
	warm, err := b.fileIn("bench-warm", coldFile+warmKey)
	if err != nil {
		return result{}, err
	}
	if _, _, err := alternate(1, b.oursUp(ctx, cold), b.oursUp(ctx, warm)); err != nil {
		return result{}, err
	}
	o, p, err := alternate(b.times(10), b.oursUp(ctx, warm), b.oursUp(ctx, cold))
	if err != nil {
		return result{}, err
	}
	r := compare(o, p, 0.5)
	r.met = r.met || median(o) <= time.Second
	return r, nil
}

func stackStartedRow(ctx context.Context, b *bench) (result, error) {
	file, err := b.fileIn("bench-started", startedFile)
	if err != nil {
		return result{}, err
	}
	compose, err := rig.Bin("docker-compose")
	if err != nil {
		return result{}, err
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, compose, append([]string{"-p", "peer-started", "-f", file}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+b.stage.Podman.Addr())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("docker compose %s: %w: %s", strings.Join(args[:1], " "), err, out)
		}
		return nil
	}
	peer := func() (time.Duration, error) {
		d, err := timed(func() error { return run("up", "-d") })
		if err != nil {
			return 0, err
		}
		return d, run("down", "--volumes", "--timeout", "0")
	}
	if _, _, err := alternate(1, b.oursUp(ctx, file), peer); err != nil { // pulls the images
		return result{}, err
	}
	o, p, err := alternate(b.times(10), b.oursUp(ctx, file), peer)
	if err != nil {
		return result{}, err
	}
	return compare(o, p, 0.9), nil
}

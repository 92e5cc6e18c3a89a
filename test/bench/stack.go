package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/test/rig"
)

// composeFile is a stack of three as tests use it: a database, a cache, and a
// service that waits for the database.
const composeFile = `services:
  db:
    image: mysql:8
    environment:
      MYSQL_ALLOW_EMPTY_PASSWORD: "yes"
    healthcheck:
      test: ["CMD", "mysqladmin", "ping", "-h", "127.0.0.1"]
      interval: 1s
      retries: 120
  cache:
    image: redis:7
    healthcheck:
      test: ["CMD", "redis-cli", "ping"]
      interval: 1s
      retries: 60
  app:
    image: busybox
    command: ["sleep", "3600"]
    depends_on:
      db:
        condition: service_healthy
`

// readyTimeout bounds one start of a stack; the database takes about five seconds.
const readyTimeout = 2 * time.Minute

func (b *bench) composeFile() (string, error) { return b.fileIn("bench-stack", composeFile) }

// oursUp times `dockless stack up` until all are healthy, and takes it down.
func (b *bench) oursUp(ctx context.Context, file string) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		d, err := b.program(ctx, "dockless", nil, "stack", "up", "-f", file, "--quiet")
		if err != nil {
			return 0, err
		}
		_, err = b.program(ctx, "dockless", nil, "stack", "down", "-f", file, "--volumes", "--timeout", "0s")
		return d, err
	}
}

func stackAloneRow(ctx context.Context, b *bench) (result, error) {
	file, err := b.composeFile()
	if err != nil {
		return result{}, err
	}
	alone := func() (time.Duration, error) {
		start := time.Now()
		if err := b.podman(ctx, "run", "--detach", "--name", "alone", "--env", "MYSQL_ALLOW_EMPTY_PASSWORD=yes", "mysql:8"); err != nil {
			return 0, err
		}
		if err := b.pingMySQL(ctx, "alone"); err != nil {
			return 0, err
		}
		d := time.Since(start)
		return d, b.podman(ctx, "rm", "--force", "--volumes", "--time", "0", "alone")
	}
	if _, _, err := alternate(1, b.oursUp(ctx, file), alone); err != nil { // pulls the images
		return result{}, err
	}
	o, p, err := alternate(b.times(10), b.oursUp(ctx, file), alone)
	if err != nil {
		return result{}, err
	}
	return compare(o, p, 1.2), nil
}

func stackComposeRow(ctx context.Context, b *bench) (result, error) {
	file, err := b.composeFile()
	if err != nil {
		return result{}, err
	}
	return b.againstPodmanCompose(ctx, file)
}

// stackComposeWarmRow is the same with a database that starts from what its first
// start left. Podman-compose does not know the key and ignores it.
func stackComposeWarmRow(ctx context.Context, b *bench) (result, error) {
	file, err := b.fileIn("bench-stack-warm", strings.Replace(composeFile, "    image: mysql:8\n", "    image: mysql:8\n"+warmKey, 1))
	if err != nil {
		return result{}, err
	}
	return b.againstPodmanCompose(ctx, file)
}

// againstPodmanCompose: podman-compose does not wait for health, so its time goes
// on until the database answers to the same check.
func (b *bench) againstPodmanCompose(ctx context.Context, file string) (result, error) {
	compose, err := rig.Bin("podman-compose")
	if err != nil {
		return result{}, err
	}
	run := func(args ...string) error {
		cmd := b.stage.Podman.Command(ctx)
		tool := exec.CommandContext(ctx, compose, append([]string{"-p", "peer", "-f", file}, args...)...)
		tool.Env = cmd.Env
		if out, err := tool.CombinedOutput(); err != nil {
			return fmt.Errorf("podman-compose %s: %w: %s", args[0], err, out)
		}
		return nil
	}
	peer := func() (time.Duration, error) {
		start := time.Now()
		if err := run("up", "-d"); err != nil {
			return 0, err
		}
		if err := b.pingMySQL(ctx, "peer_db_1"); err != nil {
			return 0, err
		}
		d := time.Since(start)
		return d, run("down", "--volumes", "--timeout", "0")
	}
	if _, _, err := alternate(1, b.oursUp(ctx, file), peer); err != nil {
		return result{}, err
	}
	o, p, err := alternate(b.times(5), b.oursUp(ctx, file), peer)
	if err != nil {
		return result{}, err
	}
	return compare(o, p, 0.35), nil
}

func (b *bench) podman(ctx context.Context, args ...string) error {
	if out, err := b.stage.Podman.Command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("podman %s: %w: %s", strings.Join(args[:1], " "), err, out)
	}
	return nil
}

// pingMySQL asks like the compose file's check does, as fast as it can.
func (b *bench) pingMySQL(ctx context.Context, container string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("MySQL in %s did not answer within %s", container, readyTimeout))
	defer cancel()
	for {
		err := b.podman(ctx, "exec", container, "mysqladmin", "ping", "-h", "127.0.0.1")
		if err == nil {
			return nil
		}
		if werr := retry.Wait(ctx, 20*time.Millisecond); werr != nil {
			return fmt.Errorf("%w (last answer: %w)", werr, err)
		}
	}
}

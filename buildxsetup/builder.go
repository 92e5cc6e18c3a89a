package buildxsetup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
)

// closeTimeout bounds the clean-up of the builder's record in [Builder.Close].
const closeTimeout = 5 * time.Second

var errCloseTimeout = fmt.Errorf("closing the builder took longer than %s", closeTimeout)

// Builder is a buildx builder of which a node at least answered. Its methods may be called
// concurrently; Close is called once.
type Builder struct {
	Name  string
	Nodes []Node // at least one

	storeDir string
	before   current // what was current when we became so
	own      *daemon // a buildkitd that Close ends; nil when it is somebody else's
	log      *slog.Logger
}

// Owned reports whether the builder's buildkitd was started by [Ensure] and ends
// with [Builder.Close].
func (b *Builder) Owned() bool { return b.own != nil }

// Environment returns the variables, as NAME=value, that make `docker buildx` in
// a step use this builder even when the step has a Docker configuration of its
// own, as it has after a login.
func (b *Builder) Environment() []string {
	return []string{"BUILDX_BUILDER=" + b.Name, "BUILDX_CONFIG=" + b.storeDir}
}

// Close ends a buildkitd that [Ensure] started, takes its builder out of
// buildx's records and makes current what was current before. A builder that
// points at somebody else's buildkitd stays.
func (b *Builder) Close(ctx context.Context) error {
	if b.own == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), closeTimeout, errCloseTimeout)
	defer cancel()
	_, err := removeBuilder(ctx, b.storeDir, b.Name, b.before)
	return errors.Join(err, b.own.stop())
}

// Remove takes the builder out of buildx's records. Its buildkitd and that one's
// cache stay as they are.
func (b *Builder) Remove(ctx context.Context) error {
	_, err := removeBuilder(ctx, b.storeDir, b.Name, b.before)
	return err
}

// Remove takes the builder that c names out of buildx's records and reports
// whether there was one. It does not need buildkitd.
func Remove(ctx context.Context, c Config) (bool, error) {
	if err := c.Validate(); err != nil {
		return false, err
	}
	dir, err := c.storeDir()
	if err != nil {
		return false, err
	}
	return removeBuilder(ctx, dir, c.Name, current{})
}

// Nodes returns the builder that c names and its nodes, without asking any of
// them: those of c.Hosts, else those of the current buildx builder. It starts
// nothing and writes nothing.
func Nodes(ctx context.Context, c Config) (name string, nodes []Node, err error) {
	if err := c.Validate(); err != nil {
		return "", nil, err
	}
	hosts, err := parseHosts(c.Hosts)
	if err != nil {
		return "", nil, err
	}
	if len(hosts) > 0 {
		nodes, err = c.nodes(hosts)
		return c.Name, nodes, err
	}
	dir, err := c.storeDir()
	if err != nil {
		return "", nil, err
	}
	name, nodes, reason, err := storedCurrent(ctx, dir)
	if err == nil && reason != "" {
		err = hint.With(fmt.Errorf("there is no builder to ask: %s", reason), "set BUILDKIT_HOST to the address of a running buildkitd")
	}
	return name, nodes, err
}

package buildxsetup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"
)

// closeTimeout bounds the clean-up of the builder's record in [Builder.Close].
const closeTimeout = 5 * time.Second

var errCloseTimeout = fmt.Errorf("closing the builder took longer than %s", closeTimeout)

// Builder is a buildx builder whose nodes answered. Its methods may be called
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

// NodeStatus is what a node says about itself now.
type NodeStatus struct {
	Node
	Err      error // an [*UnreachableError]; the rest is then as last known
	DiskUsed int64 // bytes of build cache
	Records  int   // entries of build cache
}

// Inspect asks every node for its workers and its disk usage. A node that does
// not answer is part of the answer.
func (b *Builder) Inspect(ctx context.Context) []NodeStatus {
	out := make([]NodeStatus, len(b.Nodes))
	var g errgroup.Group
	for i, n := range b.Nodes {
		g.Go(func() error {
			out[i] = n.inspect(ctx)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	return out
}

func (n Node) inspect(ctx context.Context) NodeStatus {
	s := NodeStatus{Node: n}
	workers, err := n.Ping(ctx)
	if err != nil {
		s.Err = err
		return s
	}
	s.setWorkers(workers)
	usage, err := n.diskUsage(ctx)
	if err != nil {
		s.Err = &UnreachableError{Endpoint: n.Endpoint, Err: err}
		return s
	}
	for _, u := range usage {
		s.DiskUsed += u.Size
		s.Records++
	}
	return s
}

func (n Node) diskUsage(ctx context.Context) (_ []*client.UsageInfo, err error) {
	// Adding up sizes walks the cache once; a minute is a large, slow disk.
	const usageTimeout = time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, usageTimeout, fmt.Errorf("no disk usage within %s", usageTimeout))
	defer cancel()
	c, err := n.Client(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	usage, err := c.DiskUsage(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return usage, err
}

// PruneOptions say which build cache to give up. The zero value removes what is
// not in use now.
type PruneOptions struct {
	All       bool          // also what BuildKit keeps for itself: frontends and helper images
	Filter    []string      // buildx's --filter, for example "type=exec.cachemount"
	UnusedFor time.Duration // keep what was used within this time; zero keeps nothing
	Reserved  int64         // bytes that may stay
	MaxUsed   int64         // prune until no more than these bytes are used; zero is no limit
	MinFree   int64         // prune until these bytes are free; zero is no limit
}

// Pruned is what pruning one node gave back.
type Pruned struct {
	Node    string
	Records int
	Bytes   int64
}

// Prune removes build cache from every node and reports per node how much. It
// goes on with the other nodes when one fails; their errors are joined.
func (b *Builder) Prune(ctx context.Context, o PruneOptions) ([]Pruned, error) {
	out := make([]Pruned, len(b.Nodes))
	errs := make([]error, len(b.Nodes))
	var g errgroup.Group
	for i, n := range b.Nodes {
		g.Go(func() error {
			out[i], errs[i] = n.prune(ctx, o)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return out, errors.Join(errs...)
}

func (n Node) prune(ctx context.Context, o PruneOptions) (result Pruned, err error) {
	result.Node = n.Name
	if _, err := n.Ping(ctx); err != nil {
		return result, err
	}
	c, err := n.Client(ctx)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	opts := []client.PruneOption{
		client.WithFilter(o.Filter),
		client.WithKeepOpt(o.UnusedFor, o.Reserved, o.MaxUsed, o.MinFree),
	}
	if o.All {
		opts = append(opts, client.PruneAll)
	}
	removed := make(chan client.UsageInfo)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for u := range removed {
			result.Records++
			result.Bytes += u.Size
		}
	}()
	err = c.Prune(ctx, removed, opts...)
	close(removed)
	<-counted
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return result, fmt.Errorf("pruning the cache of %s: %w", n.Name, err)
	}
	return result, nil
}

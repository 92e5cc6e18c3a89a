package buildxsetup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

// NodeStatus is what a node says about itself now.
type NodeStatus struct {
	Node
	Err     error         // an [*UnreachableError]; the rest is then as last known
	Latency time.Duration // of one question, its connection included
	Usage   Usage
	Volume  buildkitconf.Volume // zero when the node's disk cannot be seen from here
}

// Usage sums up the build cache of a node.
type Usage struct {
	Bytes       int64
	Records     int
	Reclaimable int64               // bytes of records that no build uses now
	Types       []TypeUsage         // largest first
	Biggest     []*client.UsageInfo // records, at most ten, largest first
}

// TypeUsage is the part of a [Usage] that records of one type have.
type TypeUsage struct {
	Type               client.UsageRecordType
	Records            int
	Bytes, Reclaimable int64
}

// usageOf sums up records.
func usageOf(records []*client.UsageInfo) Usage {
	const biggest = 10
	u := Usage{Records: len(records)}
	byType := make(map[client.UsageRecordType]*TypeUsage)
	for _, r := range records {
		kind := cmp.Or(r.RecordType, client.UsageRecordTypeRegular)
		t := byType[kind]
		if t == nil {
			t = &TypeUsage{Type: kind}
			byType[kind] = t
		}
		t.Records++
		t.Bytes += r.Size
		u.Bytes += r.Size
		if !r.InUse {
			t.Reclaimable += r.Size
			u.Reclaimable += r.Size
		}
	}
	for _, t := range byType {
		u.Types = append(u.Types, *t)
	}
	slices.SortFunc(u.Types, func(a, b TypeUsage) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Type, b.Type)) })
	u.Biggest = slices.Clone(records)
	slices.SortFunc(u.Biggest, func(a, b *client.UsageInfo) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID)) })
	u.Biggest = u.Biggest[:min(biggest, len(u.Biggest))]
	return u
}

// Inspect asks every node for its workers and its disk usage. A node that does
// not answer is part of the answer.
func (b *Builder) Inspect(ctx context.Context) []NodeStatus { return InspectNodes(ctx, b.Nodes) }

// InspectNodes is [Builder.Inspect] for nodes that no builder was made of.
func InspectNodes(ctx context.Context, nodes []Node) []NodeStatus {
	out := make([]NodeStatus, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			out[i] = n.Inspect(ctx)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	return out
}

// Inspect asks the node for its workers and its disk usage.
func (n Node) Inspect(ctx context.Context) NodeStatus {
	s := NodeStatus{Node: n}
	start := time.Now()
	workers, err := n.Ping(ctx)
	if err != nil {
		s.Err = err
		return s
	}
	s.Latency = time.Since(start)
	s.setWorkers(workers)
	if s.Usage, s.Err = n.Usage(ctx); s.Err != nil {
		return s
	}
	if v, err := n.Volume(ctx); err == nil {
		s.Volume = v
	}
	return s
}

// Usage asks the node for its build cache, which may take a minute where that is
// large and the disk slow.
func (n Node) Usage(ctx context.Context) (Usage, error) {
	records, err := n.diskUsage(ctx)
	if err != nil {
		return Usage{}, &UnreachableError{Endpoint: n.Endpoint, Err: err}
	}
	return usageOf(records), nil
}

func (n Node) diskUsage(ctx context.Context, opts ...client.DiskUsageOption) (_ []*client.UsageInfo, err error) {
	// Adding up sizes walks the cache once; a minute is a large, slow disk.
	const usageTimeout = time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, usageTimeout, fmt.Errorf("no disk usage within %s", usageTimeout))
	defer cancel()
	c, err := n.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	usage, err := c.DiskUsage(ctx, opts...)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return usage, err
}

package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/buildxsetup"
)

const (
	// downFor is how long a node that did not answer is left out. A restart takes
	// less, and a build in between loses no more than a warm cache.
	downFor = 15 * time.Second
	// loadTimeout bounds the question how much a node has to do. The answer only
	// spreads builds better; a node that works answers within milliseconds.
	loadTimeout = 300 * time.Millisecond
)

// fleet remembers what the nodes of a builder are doing. Its zero value knows
// nothing. It may be used concurrently.
type fleet struct {
	mu      sync.Mutex
	running map[string]int // builds of this process by node
	down    map[string]time.Time
	met     map[string]buildxsetup.Node // by name, as they last answered
}

// begin counts a build on a node until the returned function is called.
func (f *fleet) begin(node string) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.beginLocked(node)
}

func (f *fleet) beginLocked(node string) (end func()) {
	if f.running == nil {
		f.running = make(map[string]int)
	}
	f.running[node]++
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running[node]--
	})
}

// leaveOut keeps builds away from a node for a while.
func (f *fleet) leaveOut(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down == nil {
		f.down = make(map[string]time.Time)
	}
	f.down[node] = time.Now().Add(downFor)
}

func (f *fleet) isLeftOut(node string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.down[node])
}

// meet keeps what a node said of itself when it answered, and lets builds come to it.
func (f *fleet) meet(n buildxsetup.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.met == nil {
		f.met = make(map[string]buildxsetup.Node)
	}
	f.met[n.Name] = n
	delete(f.down, n.Name)
}

// current returns the nodes of the builder, each as it answered last. One that was
// silent when the builder was made is of unknown platforms until then.
func (b *Builder) current() []buildxsetup.Node {
	b.fleet.mu.Lock()
	defer b.fleet.mu.Unlock()
	nodes := slices.Clone(b.nodes)
	for i, n := range nodes {
		if met, ok := b.fleet.met[n.Name]; ok {
			nodes[i] = met
		}
	}
	return nodes
}

// assigned is a share with its place in the counts of the fleet.
type assigned struct {
	share
	end func()
}

// assignTo shares a build out among those nodes that answer. The caller calls end
// of every share.
func (b *Builder) assignTo(ctx context.Context, nodes []buildxsetup.Node, wanted []ocispecs.Platform, key string) ([]assigned, error) {
	alive, reported := nodes, make(map[string]int)
	if len(b.nodes) > 1 {
		var err error
		if alive, reported, err = b.muster(ctx, nodes, asked(b.current(), wanted)); err != nil {
			return nil, err
		}
	}
	all := b.current() // after the muster, in which one may have answered for the first time
	// From looking at the counts to changing them nobody else may, or a hundred
	// builds that start together all find the same node idle.
	b.fleet.mu.Lock()
	defer b.fleet.mu.Unlock()
	load := make(map[string]int)
	for _, n := range alive {
		// What a node reports holds our own builds, once they have arrived there.
		load[n.Name] = max(b.fleet.running[n.Name], reported[n.Name])
	}
	shares, err := route(b.name, all, alive, wanted, key, load)
	if err != nil {
		return nil, err
	}
	out := make([]assigned, len(shares))
	for i, s := range shares {
		out[i] = assigned{share: s, end: b.fleet.beginLocked(s.node.Name)}
	}
	return out, nil
}

// muster returns the nodes that answer, and how many builds each has. Those that
// did not answer a moment ago are asked only when a platform has no native node
// among the others.
func (b *Builder) muster(ctx context.Context, nodes []buildxsetup.Node, wanted []ocispecs.Platform) ([]buildxsetup.Node, map[string]int, error) {
	var first, rest []buildxsetup.Node
	for _, n := range nodes {
		if b.fleet.isLeftOut(n.Name) {
			rest = append(rest, n)
		} else {
			first = append(first, n)
		}
	}
	alive, load, err := b.askAll(ctx, first)
	if (len(alive) == 0 || !allNative(alive, wanted)) && len(rest) > 0 && ctx.Err() == nil {
		more, loads, moreErr := b.askAll(ctx, rest)
		alive, err = append(alive, more...), errors.Join(err, moreErr)
		maps.Copy(load, loads)
		order := func(n buildxsetup.Node) int {
			return slices.IndexFunc(nodes, func(o buildxsetup.Node) bool { return o.Name == n.Name })
		}
		slices.SortFunc(alive, func(a, b buildxsetup.Node) int { return order(a) - order(b) })
	}
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("building: %w", context.Cause(ctx))
	}
	if len(alive) == 0 {
		return nil, nil, unreachable(err)
	}
	return alive, load, nil
}

// allNative reports whether every platform has a node that runs it natively.
func allNative(nodes []buildxsetup.Node, wanted []ocispecs.Platform) bool {
	return !slices.ContainsFunc(wanted, func(p ocispecs.Platform) bool {
		return !slices.ContainsFunc(nodes, func(n buildxsetup.Node) bool { return n.Native(p) })
	})
}

// askAll asks nodes side by side whether they are there and what they have to do.
// The error is why those that do not answer do not.
func (b *Builder) askAll(ctx context.Context, nodes []buildxsetup.Node) ([]buildxsetup.Node, map[string]int, error) {
	loads, errs, workers := make([]int, len(nodes)), make([]error, len(nodes)), make([][]buildxsetup.Worker, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			var asked sync.WaitGroup
			if len(b.nodes) > 1 {
				asked.Go(func() { loads[i] = activeBuilds(ctx, n) })
			}
			workers[i], errs[i] = n.Ping(ctx)
			asked.Wait()
		})
	}
	all.Wait()
	var alive []buildxsetup.Node
	load := make(map[string]int)
	for i, n := range nodes {
		if errs[i] != nil {
			b.fleet.leaveOut(n.Name)
			if ctx.Err() == nil {
				b.log.WarnContext(ctx, "building without a node that does not answer", "node", n.Name, "error", errs[i])
			}
			continue
		}
		n = n.Answered(workers[i])
		b.fleet.meet(n)
		alive = append(alive, n)
		load[n.Name] = loads[i]
	}
	return alive, load, errors.Join(errs...)
}

// activeBuilds asks a node how many builds it has, of whomever. Zero stands also
// for a node that does not say so in time.
func activeBuilds(ctx context.Context, n buildxsetup.Node) int {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	c, err := n.Client(ctx)
	if err != nil {
		return 0
	}
	defer func() { _ = c.Close() }() // nothing was sent that could be lost
	count, err := countActive(ctx, c)
	if err != nil {
		return 0
	}
	return count
}

func countActive(ctx context.Context, c *client.Client) (int, error) {
	stream, err := c.ControlClient().ListenBuildHistory(ctx, &controlapi.BuildHistoryRequest{ActiveOnly: true, EarlyExit: true})
	if err != nil {
		return 0, err
	}
	count := 0
	for {
		event, err := stream.Recv()
		if err != nil {
			if isEnd(err) {
				return count, nil
			}
			return 0, err
		}
		if event.Type == controlapi.BuildHistoryEventType_STARTED {
			count++
		}
	}
}

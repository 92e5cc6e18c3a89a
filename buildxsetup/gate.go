package buildxsetup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	// freshFor is how long what a node elsewhere said about its disk is believed.
	// A build that writes 100 MB/s fills 30 GB in that time.
	freshFor = 5 * time.Minute
	// roomTimeout bounds the making of room: removing large trees from a slow disk
	// takes its time, and a build that starts too early fails.
	roomTimeout = 2 * time.Minute
	// recentUse protects what a build of just now left, which the next of a series
	// uses again, as long as anything else can go.
	recentUse = 10 * time.Minute
	// unlimited is more than any disk holds. Given as the most that may be used, it
	// makes BuildKit look at the free space alone; without it, BuildKit removes one
	// record even when enough is free.
	unlimited = 1 << 62
)

var errRoomTimeout = fmt.Errorf("making room on the builder's disk took longer than %s", roomTimeout)

// GateConfig says when a disk is too full to build on.
type GateConfig struct {
	// MinFree is what has to be free for a build to start, in bytes. Zero derives
	// it from the volume: 2 %, at most 2 GB.
	MinFree int64
	// Dir keeps what was learnt about nodes for the processes that follow; empty
	// keeps it in memory.
	Dir string
}

// Gate keeps builds off a disk that they would fill. Its methods may be called
// concurrently; Close waits for what runs beside builds.
//
// Where the disk of a node can be seen, [Gate.Admit] looks at it, which takes
// less than a millisecond, and removes cache when less is free than builds
// needed lately. The disk of a node elsewhere is seen by its buildkitd only,
// which is told to remove cache until enough is free: beside the build, unless
// that was necessary the last time.
type Gate struct {
	config GateConfig
	log    *slog.Logger
	closed chan struct{} // closed by Close
	work   sync.WaitGroup

	mu    sync.Mutex
	disks map[string]*disk // by endpoint
}

// disk is what is known about the disk of a node.
type disk struct {
	room sync.Mutex // held while room is made, by one at a time
	asks sync.Mutex // held by the one who asks beside a build

	mu     sync.Mutex
	memory diskMemory
}

// NewGate returns a gate; the caller closes it.
func NewGate(c GateConfig, log *slog.Logger) *Gate {
	return &Gate{config: c, log: log, closed: make(chan struct{}), disks: make(map[string]*disk)}
}

// Close ends what runs beside builds and waits for it. A nil gate has nothing.
func (g *Gate) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
	g.mu.Unlock()
	g.work.Wait()
}

// Admit returns when the node has room for a build, as far as that can be known,
// and makes room first when it is short. The error is a [*FullError] when there
// is too little left. A question that fails holds up no build: the build says
// better what is wrong.
func (g *Gate) Admit(ctx context.Context, n Node) error {
	d := g.disk(n)
	v, err := n.Volume(ctx)
	if err == nil {
		return g.admitSeen(ctx, n, d, v)
	}
	d.mu.Lock()
	near, fresh := d.memory.Near, time.Since(d.memory.At) < freshFor
	d.mu.Unlock()
	switch {
	case near:
		if err := g.ask(ctx, n, d); err != nil {
			return err
		}
	case !fresh:
		g.beside(ctx, func(ctx context.Context) {
			if d.asks.TryLock() {
				defer d.asks.Unlock()
				_ = g.ask(ctx, n, d) // the next build is told
			}
		})
	}
	return nil
}

// admitSeen is [Gate.Admit] for a disk that can be seen.
func (g *Gate) admitSeen(ctx context.Context, n Node, d *disk, v buildkitconf.Volume) error {
	memory := d.learn(v, time.Now())
	g.beside(ctx, func(context.Context) { g.keep(n, d) })
	want := g.wanted(v, memory)
	if v.Free >= want {
		return nil
	}
	d.room.Lock()
	defer d.room.Unlock()
	removed, err := g.makeRoom(ctx, n, want)
	if ctx.Err() != nil {
		return fmt.Errorf("making room on the builder's disk: %w", context.Cause(ctx))
	}
	if err != nil {
		g.log.WarnContext(ctx, "no room made on a builder's disk", "builder", n.Name, "error", err)
	}
	now, err := n.Volume(ctx)
	if err != nil {
		return nil //nolint:nilerr // it was seen just now: the build says better what became of it
	}
	d.forget(now)
	if removed > 0 {
		g.log.InfoContext(ctx, "cache removed to make room for a build", "builder", n.Name, "bytes", removed, "free", now.Free)
	}
	if now.Free >= g.least(now) {
		return nil
	}
	return g.full(ctx, n, now)
}

// least is what has to be free for a build to start.
func (g *Gate) least(v buildkitconf.Volume) int64 {
	if g.config.MinFree > 0 {
		return g.config.MinFree
	}
	return max(min(v.Size/50, 2<<30), min(v.Size/20, 64<<20)) // a small disk fills while we look away
}

// wanted is what should be free when a build starts: a tenth of the disk, half as
// much again as one needed lately, and more than what makes the gate refuse.
func (g *Gate) wanted(v buildkitconf.Volume, m diskMemory) int64 {
	const enough = 20 << 30 // of a large disk, a tenth is more than a build needs
	return max(min(v.Size/10, enough), min(m.growth()*3/2, v.Size/2), min(2*g.least(v), v.Size/2))
}

// makeRoom removes cache until want bytes are free: first what was not used just
// now, down to what the policy reserves, and then, if less is free than a build
// needs to start, all that nothing uses. It returns how many bytes went.
func (g *Gate) makeRoom(ctx context.Context, n Node, want int64) (removed int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roomTimeout, errRoomTimeout)
	defer cancel()
	gentle := PruneOptions{UnusedFor: recentUse, MinFree: want, MaxUsed: unlimited}
	if len(n.Workers) > 0 && len(n.Workers[0].GC) > 0 {
		gentle.Reserved = n.Workers[0].GC[len(n.Workers[0].GC)-1].ReservedSpace
	}
	least := want
	if v, err := n.Volume(ctx); err == nil {
		gentle.Reserved = min(gentle.Reserved, v.Size/10)
		least = min(want, 2*g.least(v)) + v.Reserve
		gentle.MinFree += v.Reserve
	}
	anyAge := gentle
	anyAge.UnusedFor = 0
	for _, o := range []PruneOptions{gentle, anyAge, {All: true, MinFree: least, MaxUsed: unlimited}} {
		p, err := n.Prune(ctx, o)
		removed += p.Bytes
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// ask has the buildkitd of a node elsewhere make room. When it had to, the next
// build waits for the same.
func (g *Gate) ask(ctx context.Context, n Node, d *disk) error {
	want := g.config.MinFree
	if len(n.Workers) > 0 {
		most, free := buildkitconf.Ceiling(n.Workers[0].GC)
		// Half of what the policy leaves free after builds, or a tenth of its ceiling,
		// is when something is wrong.
		want = max(want, free/2, min(most/10, 20<<30))
	}
	if want <= 0 {
		want = 2 << 30
	}
	d.room.Lock()
	defer d.room.Unlock()
	removed, err := g.makeRoom(ctx, n, want)
	if ctx.Err() != nil {
		return fmt.Errorf("making room on the builder's disk: %w", context.Cause(ctx))
	}
	if err != nil {
		g.log.WarnContext(ctx, "no room made on a builder's disk", "builder", n.Name, "error", err)
		return nil
	}
	if removed > 0 {
		g.log.InfoContext(ctx, "cache removed to make room for builds", "builder", n.Name, "bytes", removed)
	}
	d.mu.Lock()
	d.memory.At, d.memory.Near = time.Now(), removed > 0
	d.mu.Unlock()
	g.keep(n, d)
	return nil
}

// Relieve is told that a build ran out of disk on n. It removes all cache that
// nothing uses as far as the disk is short, and says in a sentence how that went.
func (g *Gate) Relieve(ctx context.Context, n Node) string {
	d := g.disk(n)
	d.mu.Lock()
	d.memory.Near = true // the next build waits for room
	d.mu.Unlock()
	want := max(g.config.MinFree, 2<<30)
	v, err := n.Volume(ctx)
	if err == nil {
		// A build that failed is begun again and needs what it had, and more.
		want = max(g.wanted(v, d.learn(v, time.Now())), v.Size/4)
	}
	d.room.Lock()
	defer d.room.Unlock()
	defer g.keep(n, d)
	removed, pruneErr := g.makeRoom(ctx, n, want)
	if pruneErr != nil {
		return fmt.Sprintf("no room could be made on node %s: %v", n.Name, pruneErr)
	}
	if now, nowErr := n.Volume(ctx); err == nil && nowErr == nil {
		d.forget(now)
		return fmt.Sprintf("%s of cache were removed from node %s, of its %s there are %s free now: try again",
			buildkitconf.Human(removed), n.Name, buildkitconf.Human(now.Size), buildkitconf.Human(now.Free))
	}
	return fmt.Sprintf("%s of cache were removed from node %s: try again", buildkitconf.Human(removed), n.Name)
}

// beside runs f beside a build, until the gate is closed.
func (g *Gate) beside(ctx context.Context, f func(context.Context)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.closed:
		return
	default:
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), roomTimeout, errRoomTimeout)
	g.work.Go(func() {
		defer cancel()
		f(ctx)
	})
	g.work.Go(func() {
		select {
		case <-g.closed:
			cancel()
		case <-ctx.Done():
		}
	})
}

// FullError says that a node's disk has too little room for a build, and who
// uses it.
type FullError struct {
	Node       string
	Free, Size int64 // bytes
	Cache      int64 // of build cache that cannot be removed
	Others     int64 // not of build cache
}

func (e *FullError) Error() string {
	by := fmt.Sprintf("%s by what is not build cache", buildkitconf.Human(e.Others))
	if e.Cache > 0 {
		by = fmt.Sprintf("%s by build cache that is in use, ", buildkitconf.Human(e.Cache)) + by
	}
	return fmt.Sprintf("the disk of node %s is full: %s of %s free; used: %s", e.Node, buildkitconf.Human(e.Free), buildkitconf.Human(e.Size), by)
}

// full describes a disk that stayed full.
func (g *Gate) full(ctx context.Context, n Node, v buildkitconf.Volume) error {
	e := &FullError{Node: n.Name, Free: v.Free, Size: v.Size, Others: v.Size - v.Free}
	if records, err := n.diskUsage(ctx); err == nil {
		e.Cache = min(usageOf(records).Bytes, e.Others)
		e.Others -= e.Cache
	}
	hints := []string{"run dockless builder prune --all when the builds that run have ended, or give the node a larger volume"}
	if e.Others > e.Size/2 {
		hints = []string{"remove what else is on the node's disk, or give buildkitd a volume of its own"}
	}
	hints = append(hints,
		"dockless builder config writes limits that fit the volume; dockless doctor says what is wrong with those in force",
		fmt.Sprintf("a build may start with %s free; DOCKLESS_BUILDER_MIN_FREE sets that", buildkitconf.Human(g.least(v))))
	var err error = e
	for _, h := range hints {
		err = hint.With(err, "%s", h)
	}
	return err
}

// IsFull reports whether err says that a builder's disk is full.
func IsFull(err error) bool {
	_, ok := errors.AsType[*FullError](err)
	return ok
}

package buildxsetup

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
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
	room chan struct{} // holds one while room is made, by one at a time: see lock
	asks sync.Mutex    // held by the one who asks beside a build

	mu     sync.Mutex
	memory diskMemory
	barren time.Time // when nothing was found to remove; zero once a build has ended since
}

func newDisk(m diskMemory) *disk { return &disk{room: make(chan struct{}, 1), memory: m} }

// lock waits for its turn to make room. It fails with the cause of ctx.
func (d *disk) lock(ctx context.Context) error {
	select {
	case d.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("making room on the builder's disk: %w", context.Cause(ctx))
	}
}

func (d *disk) unlock() { <-d.room }

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

// Room looks whether a build could start on the node now, without making room for it.
// The error is a [*FullError] when it could not; a disk that cannot be seen has room,
// and so have all of them for a nil gate. It takes less than a millisecond.
func (g *Gate) Room(ctx context.Context, n Node) error {
	if g == nil {
		return nil
	}
	v, err := n.Volume(ctx)
	if err != nil || v.Free >= g.least(v) {
		return nil //nolint:nilerr // what cannot be seen is not held against the node
	}
	return g.full(n, v)
}

// admitSeen is [Gate.Admit] for a disk that can be seen.
func (g *Gate) admitSeen(ctx context.Context, n Node, d *disk, v buildkitconf.Volume) error {
	if v.Free >= g.wanted(n, v, d.known()) {
		return nil
	}
	now, err := g.roomFor(ctx, n, d)
	if err != nil || now.Free >= g.least(now) {
		return err
	}
	return g.whose(ctx, n, g.full(n, now))
}

// roomFor makes room for a build, unless the one before it did or found nothing to
// remove, and returns the disk after that.
func (g *Gate) roomFor(ctx context.Context, n Node, d *disk) (buildkitconf.Volume, error) {
	arrived := time.Now()
	if err := d.lock(ctx); err != nil {
		return buildkitconf.Volume{}, err
	}
	defer d.unlock()
	v, err := n.Volume(ctx)
	if err != nil {
		return unseen, nil //nolint:nilerr // it was seen just now: the build says better what became of it
	}
	want := g.wanted(n, v, d.known())
	if v.Free >= want || d.isBarren(arrived, v.Free >= g.least(v)) {
		return v, nil
	}
	gentle, rest, err := g.makeRoom(ctx, n, want, want)
	if ctx.Err() != nil {
		return v, fmt.Errorf("making room on the builder's disk: %w", context.Cause(ctx))
	}
	if err != nil {
		g.log.WarnContext(ctx, "no room made on a builder's disk", "builder", n.Name, "error", err)
	}
	now, nowErr := n.Volume(ctx)
	if nowErr != nil {
		return unseen, nil //nolint:nilerr // as above
	}
	if removed := gentle + rest; removed > 0 {
		g.log.InfoContext(ctx, "cache removed to make room for a build", "builder", n.Name, "bytes", removed, "free", now.Free)
	} else if err == nil {
		d.setBarren(time.Now())
	}
	return now, nil
}

// unseen stands for a disk that went out of sight: nothing is held against it.
var unseen = buildkitconf.Volume{Free: unlimited}

// Least is what has to be free on a disk for a build to start.
func (c GateConfig) Least(v buildkitconf.Volume) int64 {
	if c.MinFree > 0 {
		return c.MinFree
	}
	return max(min(v.Size/50, 2<<30), min(v.Size/20, 64<<20)) // a small disk fills while we look away
}

func (g *Gate) least(v buildkitconf.Volume) int64 { return g.config.Least(v) }

// wanted is what should be free when a build starts: a tenth of the disk, half as
// much again as one needed lately, but no more than the cache may have in all, and
// more than what makes the gate refuse.
func (g *Gate) wanted(n Node, v buildkitconf.Volume, m diskMemory) int64 {
	const enough = 20 << 30 // of a large disk, a tenth is more than a build needs
	needed := min(m.growth()*3/2, v.Size/2)
	if most, _ := n.Ceiling(); most > 0 {
		needed = min(needed, most)
	}
	return max(min(v.Size/10, enough), needed, min(2*g.least(v), v.Size/2))
}

// Ceiling returns what the policies of the node's workers bring its cache down to, in
// bytes, and the free space that they leave, as [buildkitconf.Ceiling] has them; zero
// means that there is no such limit. Workers share the disk: one that has no limit fills
// it, and what the others keep adds up.
func (n Node) Ceiling() (maxUsed, minFree int64) {
	unlimited := false
	for _, w := range n.Workers {
		most, free := buildkitconf.Ceiling(w.GC)
		unlimited = unlimited || most <= 0
		maxUsed, minFree = maxUsed+most, max(minFree, free)
	}
	if unlimited {
		maxUsed = 0
	}
	return maxUsed, minFree
}

// makeRoom removes cache until want bytes are free: first what was not used just
// now, down to what the policy reserves; and then, if less is free than a build
// needs to start, all that nothing uses: the rest. That is least where the disk
// cannot be seen. It returns how many bytes went in either way.
func (g *Gate) makeRoom(ctx context.Context, n Node, want, least int64) (gentle, rest int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, roomTimeout, errRoomTimeout)
	defer cancel()
	sparing := PruneOptions{UnusedFor: recentUse, MinFree: want, MaxUsed: unlimited}
	if len(n.Workers) > 0 && len(n.Workers[0].GC) > 0 {
		sparing.Reserved = n.Workers[0].GC[len(n.Workers[0].GC)-1].ReservedSpace
	}
	if v, err := n.Volume(ctx); err == nil {
		sparing.Reserved = min(sparing.Reserved, v.Size/10)
		least = min(want, 2*g.least(v)) + v.Reserve
		sparing.MinFree += v.Reserve
	}
	anyAge := sparing
	anyAge.UnusedFor = 0
	for _, o := range []PruneOptions{sparing, anyAge} {
		p, err := n.Prune(ctx, o)
		gentle += p.Bytes
		if err != nil {
			return gentle, 0, err
		}
	}
	p, err := n.Prune(ctx, PruneOptions{All: true, MinFree: least, MaxUsed: unlimited})
	return gentle, p.Bytes, err
}

// leastElsewhere is what has to be free for a build to start on a disk of which the
// size is not known.
func (g *Gate) leastElsewhere() int64 { return max(g.config.MinFree, 2<<30) }

// ask has the buildkitd of a node elsewhere make room. When sparing the cache in
// use was not enough, the next build waits for the same.
func (g *Gate) ask(ctx context.Context, n Node, d *disk) error {
	// Half of what the policy leaves free after builds, or a tenth of its ceiling,
	// is when something is wrong.
	most, free := n.Ceiling()
	want := max(g.config.MinFree, free/2, min(most/10, 20<<30))
	if want <= 0 {
		want = g.leastElsewhere()
	}
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.unlock()
	gentle, rest, err := g.makeRoom(ctx, n, want, min(want, g.leastElsewhere()))
	if ctx.Err() != nil {
		return fmt.Errorf("making room on the builder's disk: %w", context.Cause(ctx))
	}
	if err != nil {
		g.log.WarnContext(ctx, "no room made on a builder's disk", "builder", n.Name, "error", err)
		return nil
	}
	if removed := gentle + rest; removed > 0 {
		g.log.InfoContext(ctx, "cache removed to make room for builds", "builder", n.Name, "bytes", removed)
	}
	d.mu.Lock()
	d.memory.At, d.memory.Near = time.Now(), rest > 0
	d.mu.Unlock()
	g.keep(n, d)
	return nil
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

package buildxsetup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/hint"
)

// whoseTimeout bounds the question who uses a full disk. BuildKit adds its records
// up for it, and an error that comes late helps less than one that says less.
const whoseTimeout = 3 * time.Second

// FullError says that a node's disk has too little room for a build, and who
// uses it, as far as that was asked.
type FullError struct {
	Node       string
	Free, Size int64 // bytes
	Cache      int64 // of build cache that cannot be removed
	Others     int64 // not of build cache; zero, as Cache, when nobody asked
}

func (e *FullError) Error() string {
	text := fmt.Sprintf("the disk of node %s is full: %s of %s free", e.Node, buildkitconf.Human(e.Free), buildkitconf.Human(e.Size))
	if by := e.by(); by != "" {
		text += "; used: " + by
	}
	return text
}

// by says who uses the disk.
func (e *FullError) by() string {
	switch {
	case e.Cache == 0 && e.Others == 0:
		return ""
	case e.Cache == 0:
		return fmt.Sprintf("%s by what is not build cache", buildkitconf.Human(e.Others))
	}
	return fmt.Sprintf("%s by build cache that is in use, %s by what is not build cache", buildkitconf.Human(e.Cache), buildkitconf.Human(e.Others))
}

// full describes a full disk by what is known of it at once.
func (g *Gate) full(n Node, v buildkitconf.Volume) *FullError {
	return &FullError{Node: n.Name, Free: v.Free, Size: v.Size}
}

// whose asks who uses the disk, and adds what to do about it.
func (g *Gate) whose(ctx context.Context, n Node, e *FullError) error {
	ctx, cancel := context.WithTimeoutCause(ctx, whoseTimeout, fmt.Errorf("no disk usage within %s", whoseTimeout))
	defer cancel()
	if records, err := n.diskUsage(ctx); err == nil {
		e.Cache = min(usageOf(records).Bytes, e.Size-e.Free)
		e.Others = e.Size - e.Free - e.Cache
	}
	return g.advised(e)
}

// advised adds what to do to the error of a full disk.
func (g *Gate) advised(e *FullError) error {
	hints := []string{"run dockless builder prune --all when the builds that run have ended, or give the node a larger volume"}
	if e.Others > e.Size/2 {
		hints = []string{"remove what else is on the node's disk, or give buildkitd a volume of its own"}
	}
	hints = append(hints,
		"dockless builder config writes limits that fit the volume; dockless doctor says what is wrong with those in force",
		fmt.Sprintf("a build may start with %s free; DOCKLESS_BUILDER_MIN_FREE sets that", buildkitconf.Human(g.least(buildkitconf.Volume{Size: e.Size}))))
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

// Relieve is told of a build on n that failed as one does on a full disk; sure
// says that the builder found it full, not just that a step printed such words,
// which any step may. It removes cache when the disk is seen to be short, or
// cannot be seen and the builder is sure, and says in a sentence how that went.
// Roomy says that the disk is seen to have room, so that another one was full.
func (g *Gate) Relieve(ctx context.Context, n Node, sure bool) (said string, roomy bool) {
	d := g.disk(n)
	v, err := n.Volume(ctx)
	if err != nil {
		return g.relieveElsewhere(ctx, n, d, sure), false
	}
	want := g.wanted(n, v, d.known())
	if v.Free >= want {
		return fmt.Sprintf("of the %s of node %s's disk there are %s free now", buildkitconf.Human(v.Size), n.Name, buildkitconf.Human(v.Free)), true
	}
	if sure {
		want = max(want, v.Size/4) // it is begun again and needs what it had, and more
	}
	removed, err := g.relieve(ctx, n, d, want)
	if err != nil {
		return fmt.Sprintf("no room could be made on node %s: %v", n.Name, err), false
	}
	said = fmt.Sprintf("%s of cache were removed from node %s", buildkitconf.Human(removed), n.Name)
	now, err := n.Volume(ctx)
	if err != nil {
		return said + ": try again", false
	}
	said += fmt.Sprintf(", of its %s there are %s free now", buildkitconf.Human(now.Size), buildkitconf.Human(now.Free))
	if now.Free >= g.least(now) {
		return said + ": try again", false
	}
	e := g.full(n, now)
	_ = g.whose(ctx, n, e) // fills e in
	if by := e.by(); by != "" {
		said += "; used: " + by
	}
	return said, false
}

// relieveElsewhere is [Gate.Relieve] for a disk that cannot be seen.
func (g *Gate) relieveElsewhere(ctx context.Context, n Node, d *disk, sure bool) string {
	if !sure {
		return ""
	}
	d.mu.Lock()
	d.memory.Near = true // the next build waits for room
	d.mu.Unlock()
	defer g.keep(n, d)
	removed, err := g.relieve(ctx, n, d, g.leastElsewhere())
	if err != nil {
		return fmt.Sprintf("no room could be made on node %s: %v", n.Name, err)
	}
	return fmt.Sprintf("%s of cache were removed from node %s: try again", buildkitconf.Human(removed), n.Name)
}

func (g *Gate) relieve(ctx context.Context, n Node, d *disk, want int64) (removed int64, err error) {
	if err := d.lock(ctx); err != nil {
		return 0, err
	}
	defer d.unlock()
	gentle, rest, err := g.makeRoom(ctx, n, want, want)
	return gentle + rest, err
}

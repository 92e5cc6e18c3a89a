package imagebuild

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

// outOfSpace reports whether the text of a failed build says that a disk was
// full. The error crosses gRPC as text, and most of these come from the kernel by
// way of a tool's own words. A miss costs the hint; a step may print such words for
// any reason, so alone they remove nothing from a disk that is not seen to be short.
func outOfSpace(text string) bool {
	text = strings.ToLower(text)
	for _, words := range []string{"no space left on device", "enospc", "disk quota exceeded", "not enough space on", "database or disk is full"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// advice adds what to do to the error of a build that ran out of disk; said is how
// it went with the builder's, which has room when roomy.
func advice(err error, said string, roomy bool) error {
	if said != "" {
		err = hint.With(err, "%s", said)
	}
	if roomy {
		return hint.With(err, "where it says that there is no space, a limit of the step's own (/dev/shm, a tmpfs, a quota) or the disk that the output goes to is full")
	}
	return hint.With(err, "the disk of the builder, a limit of the step's own (/dev/shm, a tmpfs) or the disk that the output goes to is full: dockless doctor looks at the first; dockless builder prune frees it")
}

// spaceWatch notices a full disk in what steps print: the error of a step that
// failed is its exit code. Its methods may be called concurrently.
type spaceWatch struct{ full atomic.Bool }

func (w *spaceWatch) see(s *client.SolveStatus) {
	for _, l := range s.Logs {
		if !w.full.Load() && outOfSpace(string(l.Data)) {
			w.full.Store(true)
		}
	}
}

// watch is [Options.Watch], set or not.
func (o Options) watch(ctx context.Context, node buildxsetup.Node) (_ context.Context, stop func()) {
	if o.Watch == nil {
		return ctx, func() {}
	}
	return o.Watch(ctx, node)
}

// relieve has room made when err, or what a step printed before it, says that the
// disk of node was full. Any other error stays as it is.
func (o Options) relieve(ctx context.Context, node buildxsetup.Node, w *spaceWatch, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	stopped := buildxsetup.IsFull(err) // by the watch, which has hints of its own
	told := outOfSpace(err.Error())
	if !stopped && !told && !w.full.Load() {
		return err
	}
	said, roomy := "", false
	if o.Full != nil {
		// The error of a step quotes its command, which its author wrote.
		sure := stopped || told && !strings.Contains(err.Error(), "did not complete successfully")
		said, roomy = o.Full(ctx, node, sure)
	}
	if !stopped {
		return advice(err, said, roomy)
	}
	if said != "" {
		err = hint.With(err, "%s", said)
	}
	return err
}

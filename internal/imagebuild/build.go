package imagebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/buildxsetup"
)

// Options say how a [Builder] works. The zero value remembers nothing beyond the
// process and tells nobody.
type Options struct {
	// StateDir keeps what builds learn for those that follow, of this and other
	// processes of the machine: records, what registries refuse, what cache exports
	// cost. Empty keeps it in memory.
	StateDir string
	// Gate, when set, is asked before a solve whether the node has room for it. Its
	// error ends the build, unless it is a [*buildxsetup.FullError] and another node
	// that runs the same has room.
	Gate func(context.Context, buildxsetup.Node) error
	// Watch, when set, returns a context for a build on the node that ends before
	// the build has filled the disk; stop is called at the build's end.
	Watch func(context.Context, buildxsetup.Node) (_ context.Context, stop func())
	// Full, when set, is told of a build that seems to have run out of disk on the
	// node; sure is false when only a step says so. It makes room where the disk is
	// short, and says in a sentence how that went; empty says nothing. Roomy says
	// that the disk was looked at and has room.
	Full func(_ context.Context, _ buildxsetup.Node, sure bool) (said string, roomy bool)
	// Observe, when set, is told of every build that ended, and of every cache
	// export that ended, failed before it began or was skipped. It must not block.
	Observe func(Event)
	// Queue, when set, is told 1 when a cache export begins to wait for its turn,
	// and -1 when it has ended.
	Queue func(delta int)
}

// Event is the end of a build, or of the cache export of one.
type Event struct {
	Build  *Result // nil when Err ended it before there was one, or for an export
	Export *CacheExport
	Node   string
	Err    error
	Took   time.Duration
}

// Builder builds images on the nodes of a buildx builder. Its methods may be
// called concurrently.
type Builder struct {
	name    string
	nodes   []buildxsetup.Node
	log     *slog.Logger
	options Options
	dead    deadRegistries
	exports *exports
	fleet   fleet
	records memory // of earlier builds
}

// New returns a Builder on the nodes of b, which stays the caller's to close. The
// caller calls Close when no build runs any more.
func New(b *buildxsetup.Builder, log *slog.Logger, o Options) *Builder {
	out := &Builder{name: b.Name, nodes: b.Nodes, log: log, options: o, exports: newExports(o.StateDir)}
	out.exports.queue.Alone = func(ctx context.Context, err error) {
		log.WarnContext(ctx, "cache exports do not wait for those of other processes", "error", err)
	}
	return out
}

// Close waits for cache exports that still run, as long as ctx and their own
// bounds allow, and reports those that ctx cut short. A second call is allowed.
func (b *Builder) Close(ctx context.Context) error {
	err := b.exports.close(ctx)
	b.records.wait(ctx)
	return err
}

// Build builds r and shows progress. It returns when the image is where it shall
// be and the cache export has ended, well or not, or goes on behind it as r.Cache
// says; ctx ends all of it promptly that Build waits for.
//
// A failure in the Dockerfile is a [*DockerfileError], nodes that cannot be
// reached a [*buildxsetup.UnreachableError]. A node that is lost in the middle is
// replaced once. A cache registry that is down neither fails nor holds up a build
// beyond the bounds of r.Cache.
func (b *Builder) Build(ctx context.Context, r Request, p Progress) (result *Result, err error) {
	ctx, done := b.account(ctx, &r)
	var w *work
	defer func() { done(result, w.nodeNames(), err) }()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if w, err = b.newWork(ctx, &r); err != nil {
		return nil, err
	}
	defer w.release()
	if w.display, err = p.start(ctx); err != nil {
		return nil, err
	}
	why := b.inquire(ctx, w.r)
	result, err = w.build(ctx)
	why.conclude(ctx, result)
	if closeErr := w.display.close(); err == nil && closeErr != nil {
		err = fmt.Errorf("showing progress: %w", closeErr)
	}
	return result, err
}

// work is one build: its parts, and what they have in common.
type work struct {
	b           *Builder
	r           *Request
	text        string // Dockerfile from a stream
	names       []reference.Named
	wanted      []ocispecs.Platform // empty: the node's own
	annotations []annotation
	secrets     map[string][]byte
	shares      []assigned
	display     *display
	merger      *merger // nil when the one part is the image
}

func (b *Builder) newWork(ctx context.Context, r *Request) (*work, error) {
	w := &work{b: b, r: r}
	var err error
	if w.names, err = r.references(); err != nil {
		return nil, err
	}
	if w.wanted, err = r.platforms(); err != nil {
		return nil, err
	}
	if w.annotations, err = parseAnnotations(r.Annotations); err != nil {
		return nil, err
	}
	if w.secrets, err = readSecrets(ctx, r.Secrets); err != nil {
		return nil, err
	}
	if r.DockerfileText != nil {
		if w.text, err = readText(r.DockerfileText); err != nil {
			return nil, err
		}
		c := *r
		c.DockerfileText = strings.NewReader(w.text)
		w.r = &c
	}
	w.shares, err = b.assignTo(ctx, b.current(), w.wanted, w.key())
	return w, err
}

// release gives the work's places in the counts of the fleet back.
func (w *work) release() {
	for _, s := range w.shares {
		s.end()
	}
}

// nodeNames are the nodes that the parts were on last; none for a nil work.
func (w *work) nodeNames() []string {
	if w == nil {
		return nil
	}
	var names []string
	for _, s := range w.shares {
		names = append(names, s.node.Name)
	}
	return names
}

// key is what builds have in common that use each other's cache.
func (w *work) key() string { return cmp.Or(w.r.cache().Name, w.r.Context) }

// build builds all parts side by side, puts them together, and exports the cache.
func (w *work) build(ctx context.Context) (_ *Result, err error) {
	start := time.Now()
	if w.merger, err = newMerger(ctx, w, len(w.shares)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.merger.close()) }()
	for _, s := range w.shares {
		w.warn(ctx, s.share)
	}
	parts, err := w.buildParts(ctx)
	defer func() {
		for _, p := range parts {
			err = errors.Join(err, p.close())
		}
	}()
	if err != nil {
		return nil, err
	}
	result, err := w.result(ctx, parts)
	if err != nil {
		return nil, err
	}
	result.Stats.Duration = time.Since(start)
	w.exportCaches(ctx, parts, result)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("building: %w", context.Cause(ctx))
	}
	return result, nil
}

// warn says aloud what nobody asked for: that steps are emulated.
func (w *work) warn(ctx context.Context, s share) {
	for _, p := range s.emulated {
		w.b.log.WarnContext(ctx, "building with an emulator, which takes several times as long", "platform", p, "node", s.node.Name)
		w.display.say(fmt.Sprintf("[warning] %s is emulated on node %s: no node that answers runs it natively; add a native node to BUILDKIT_HOST", p, s.node.Name))
	}
}

// buildParts returns the parts in the order of the shares, those that were built
// also with an error. The first part that fails ends the others.
func (w *work) buildParts(ctx context.Context) ([]*solver, error) {
	parts := make([]*solver, len(w.shares))
	if len(parts) == 1 {
		var err error
		parts[0], err = w.buildPart(ctx, 0)
		return parts, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		all   sync.WaitGroup
		once  sync.Once
		first error
	)
	for i := range parts {
		all.Go(func() {
			var err error
			if parts[i], err = w.buildPart(ctx, i); err != nil {
				once.Do(func() { first = err })
				cancel(err)
			}
		})
	}
	all.Wait()
	return parts, first
}

// exportCaches exports the cache of every part.
func (w *work) exportCaches(ctx context.Context, parts []*solver, result *Result) {
	exports := make([]*CacheExport, len(parts))
	var all sync.WaitGroup
	for i, s := range parts {
		if export := s.r.cache().Export(s.platform); export.Type != "" {
			all.Go(func() {
				e := s.exportCache(ctx, export, s.answers)
				if observe := w.b.options.Observe; e.Duration == 0 && observe != nil {
					observe(Event{Export: e, Node: s.node.Name, Err: e.Err}) // of one that ran, it tells itself
				}
				exports[i] = e
			})
		}
	}
	all.Wait()
	for _, e := range exports {
		if e == nil {
			continue
		}
		result.Stats.Export = max(result.Stats.Export, e.Duration)
		if result.Export == nil || result.Export.Err == nil && e.Err != nil {
			result.Export = e // one that failed is what people want to hear of
		}
	}
}

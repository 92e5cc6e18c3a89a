package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"go.opentelemetry.io/otel/attribute"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/span"
)

// Options say how a [Builder] works. The zero value remembers nothing beyond the
// process and tells nobody.
type Options struct {
	// StateDir keeps what builds learn for those that follow, of this and other
	// processes of the machine: records, what registries refuse, what cache exports
	// cost. Empty keeps it in memory.
	StateDir string
	// Gate, when set, is asked before a solve whether the node has room for it. Its
	// error ends the build.
	Gate func(context.Context, buildxsetup.Node) error
	// Observe, when set, is told of every build that ended, and of every cache
	// export that ended. It must not block.
	Observe func(Event)
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
}

// New returns a Builder on the nodes of b, which stays the caller's to close. The
// caller calls Close when no build runs any more.
func New(b *buildxsetup.Builder, log *slog.Logger, o Options) *Builder {
	return &Builder{name: b.Name, nodes: b.Nodes, log: log, options: o, exports: newExports(o.StateDir)}
}

// Close waits for cache exports that still run, as long as ctx and their own
// bounds allow, and reports those that ctx cut short. A second call is allowed.
func (b *Builder) Close(ctx context.Context) error { return b.exports.close(ctx) }

// Build builds r and shows progress. It returns when the image is where it shall
// be and the cache export has ended, well or not, or goes on behind it as r.Cache
// says; ctx ends all of it promptly that Build waits for.
//
// A failure in the Dockerfile is a [*DockerfileError], a node that cannot be
// reached a [*buildxsetup.UnreachableError]. A cache registry that is down
// neither fails nor holds up a build beyond the bounds of r.Cache.
func (b *Builder) Build(ctx context.Context, r Request, p Progress) (result *Result, err error) {
	ctx, done := b.account(ctx, &r)
	defer func() { done(result, err) }()
	if err := r.Validate(); err != nil {
		return nil, err
	}
	node, wanted, err := b.pick(&r)
	if err != nil {
		return nil, err
	}
	s, err := newSolver(ctx, b, node, &r, wanted)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.client.Close()) }()
	if s.display, err = p.start(ctx); err != nil {
		return nil, err
	}
	why := b.inquire(ctx, &r)
	result, err = s.build(ctx)
	why.conclude(ctx, result)
	if closeErr := s.display.close(); err == nil && closeErr != nil {
		err = fmt.Errorf("showing progress: %w", closeErr)
	}
	return result, err
}

// pick returns the node that builds r: the first that offers all its platforms.
func (b *Builder) pick(r *Request) (buildxsetup.Node, []ocispecs.Platform, error) {
	wanted, err := r.platforms()
	if err != nil {
		return buildxsetup.Node{}, nil, err
	}
	for _, n := range b.nodes {
		if !slices.ContainsFunc(wanted, func(p ocispecs.Platform) bool { return !n.Offers(p) }) {
			return n, wanted, nil
		}
	}
	var offered []string
	for _, n := range b.nodes {
		for _, p := range n.Platforms {
			offered = append(offered, platforms.FormatAll(p))
		}
	}
	slices.Sort(offered)
	return buildxsetup.Node{}, nil, hint.With(
		fmt.Errorf("no node of builder %s builds for %s; they offer %s", b.name, strings.Join(r.Platforms, ","), strings.Join(slices.Compact(offered), ", ")),
		"install an emulator on the node (binfmt_misc), or add a node of the platform to BUILDKIT_HOST")
}

// solver carries one build through its solves.
type solver struct {
	b        *Builder
	node     buildxsetup.Node
	client   *client.Client
	r        *Request
	wanted   []ocispecs.Platform
	platform string // of the caches; empty for the node's own
	secrets  map[string][]byte
	display  *display
	recorder *recorder
}

func newSolver(ctx context.Context, b *Builder, node buildxsetup.Node, r *Request, wanted []ocispecs.Platform) (*solver, error) {
	s := &solver{b: b, node: node, r: r, wanted: wanted, recorder: newRecorder()}
	names := make([]string, len(wanted))
	for i, p := range wanted {
		names[i] = platforms.FormatAll(p)
	}
	s.platform = strings.Join(names, ",")
	var err error
	if s.secrets, err = readSecrets(ctx, r.Secrets); err != nil {
		return nil, err
	}
	if r.DockerfileText != nil {
		if s.r, err = withText(r); err != nil {
			return nil, err
		}
	}
	if s.client, err = node.Client(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// build solves for the image and then for the cache.
func (s *solver) build(ctx context.Context) (*Result, error) {
	start := time.Now()
	known, err := s.known(ctx, slices.Concat(s.r.CacheFrom, s.r.cache().Imports(s.platform)))
	if err != nil {
		return nil, failure(ctx, err, s.node, s.dockerfileName())
	}
	if s.r.NoCache {
		known.usable = nil // asked all the same, because the export goes there
	}
	id := identity.NewID()
	response, err := s.solveImage(ctx, id, known.usable)
	if err != nil {
		return nil, failure(ctx, err, s.node, s.dockerfileName())
	}
	result, err := s.result(id, response)
	if err != nil {
		return nil, err
	}
	result.Stats.Duration = time.Since(start)
	for _, e := range known.usable {
		if ref := e.Attrs["ref"]; ref != "" {
			result.Imports = append(result.Imports, ref)
		}
	}
	if err := s.keep(ctx, response); err != nil {
		return nil, err
	}
	if export := s.r.cache().Export(s.platform); export.Type != "" {
		result.Export = s.exportCache(ctx, export, known)
		result.Stats.Export = result.Export.Duration
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("building: %w", context.Cause(ctx))
	}
	return result, nil
}

// solveImage solves with cache imports and, when fetching a layer from one of
// their registries is what went wrong, once more without that registry's.
func (s *solver) solveImage(ctx context.Context, id string, imports []buildcache.Entry) (map[string]string, error) {
	for {
		response, err := s.solveOnce(ctx, id, imports)
		if err == nil || ctx.Err() != nil {
			return response, err
		}
		blamed := blamedFor(err, imports)
		if blamed == "" {
			return nil, err
		}
		s.b.log.WarnContext(ctx, "building again without the caches of a registry", "registry", blamed, "error", oneLine(err))
		imports = slices.DeleteFunc(slices.Clone(imports), func(e buildcache.Entry) bool { return registryOf(e) == blamed })
	}
}

func (s *solver) solveOnce(ctx context.Context, id string, imports []buildcache.Entry) (map[string]string, error) {
	opt, err := s.options(imports)
	if err != nil {
		return nil, err
	}
	opt.Ref = id
	if opt.Exports, err = s.exports(); err != nil {
		return nil, err
	}
	opt.CacheExports = solveEntries(s.r.CacheTo, s.r.Insecure)
	return s.solve(ctx, opt, func(st *client.SolveStatus) {
		s.recorder.add(st)
		s.display.show(calm(st))
	})
}

// solve runs one solve and hands every status to see.
func (s *solver) solve(ctx context.Context, opt client.SolveOpt, see func(*client.SolveStatus)) (_ map[string]string, err error) {
	ctx, about := span.Start(ctx, "solve", attribute.String("dockless.node", s.node.Name), attribute.String("buildkit.ref", opt.Ref))
	defer func() { about.End(err) }()
	told := newVertices(ctx)
	defer told.end(ctx)
	statuses := make(chan *client.SolveStatus)
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		for st := range statuses {
			told.add(st)
			see(st)
		}
	}()
	response, err := s.client.Solve(ctx, nil, opt, statuses)
	<-seen
	if err != nil {
		return nil, err
	}
	return response.ExporterResponse, nil
}

// result reads what the exporters answered.
func (s *solver) result(id string, response map[string]string) (*Result, error) {
	named, err := s.r.references()
	if err != nil {
		return nil, err
	}
	steps := s.recorder.steps()
	out := &Result{
		Digest:   digest.Digest(response[exptypes.ExporterImageDigestKey]),
		Node:     s.node.Name,
		Metadata: metadata(response, s.b.name+"/"+s.node.Name+"/"+id),
		Steps:    steps,
		Stats:    count(steps),
	}
	for _, n := range named {
		out.Names = append(out.Names, n.String())
	}
	for _, p := range s.wanted {
		out.Platforms = append(out.Platforms, platforms.FormatAll(p))
	}
	if len(out.Platforms) == 0 && len(s.node.Platforms) > 0 {
		out.Platforms = []string{platforms.FormatAll(s.node.Platforms[0])}
	}
	if _, ok := out.Metadata[exptypes.ExporterImageNameKey]; !ok && len(out.Names) > 0 && out.Digest != "" {
		out.Metadata[exptypes.ExporterImageNameKey] = strings.Join(out.Names, ",")
	}
	return out, nil
}

func solveEntries(entries []buildcache.Entry, insecure []string) []client.CacheOptionsEntry {
	out := make([]client.CacheOptionsEntry, 0, len(entries))
	for _, e := range entries {
		attrs := maps.Clone(e.Attrs)
		if host := registryOf(e); host != "" && slices.Contains(insecure, host) {
			attrs["registry.insecure"] = "true"
		}
		out = append(out, client.CacheOptionsEntry{Type: e.Type, Attrs: attrs})
	}
	return out
}

package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/identity"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"go.opentelemetry.io/otel/attribute"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/span"
)

// solver carries one part of a build through its solves on one node.
type solver struct {
	b           *Builder
	node        buildxsetup.Node
	client      *client.Client
	r           *Request
	wanted      []ocispecs.Platform
	emulated    []string
	platform    string // of the caches; empty for the node's own
	secrets     map[string][]byte
	annotations []annotation
	merger      *merger
	number      int // of the part
	display     *view
	recorder    *recorder
	space       spaceWatch
	streamed    atomic.Bool // something the caller reads from has been written to

	// What became of it.
	id       string // of the solve for the image, the last one
	response map[string]string
	answers  answers
	// manifests is what the part's image consists of, when the image has several parts.
	manifests []ocispecs.Descriptor
	retried   string // node that was lost while it built this part
}

// newSolver returns the solver of a part on a node, the attempt counted from zero.
func (w *work) newSolver(ctx context.Context, part, attempt int, s share) (*solver, error) {
	r := *w.r
	if r.DockerfileText != nil {
		r.DockerfileText = strings.NewReader(w.text) // every solver reads from the start
	}
	names := make([]string, len(s.wanted))
	for i, p := range s.wanted {
		names[i] = platforms.FormatAll(p)
	}
	out := &solver{
		b: w.b, node: s.node, r: &r, wanted: s.wanted, emulated: s.emulated, platform: strings.Join(names, ","),
		secrets: w.secrets, annotations: w.annotations, merger: w.merger, number: part,
		display: &view{display: w.display}, recorder: newRecorder(), id: identity.NewID(),
	}
	if len(w.shares) > 1 {
		out.display.prefix = s.node.Name
		if len(names) == 1 {
			out.display.prefix = names[0]
		}
	}
	if len(w.shares) > 1 || attempt > 0 {
		out.display.salt = out.id
	}
	var err error
	out.client, err = s.node.Client(ctx)
	return out, err
}

func (s *solver) close() error {
	if s == nil || s.client == nil {
		return nil
	}
	return s.client.Close()
}

// buildPart builds a part on its node and, when that one is lost, once more
// elsewhere. The caller closes the solver.
func (w *work) buildPart(ctx context.Context, part int) (*solver, error) {
	a, err := w.admit(ctx, w.shares[part])
	if err != nil {
		return nil, err
	}
	w.shares[part] = a // for the end of the build
	s, err := w.attempt(ctx, part, 0, a.share)
	if err == nil {
		return s, nil
	}
	if ctx.Err() != nil || !isTransport(err) || s.streamed.Load() {
		return nil, w.fail(ctx, s, err)
	}
	s.display.abandon("the connection to node " + a.node.Name + " was lost")
	w.b.log.WarnContext(ctx, "a node was lost in the middle of a build", "node", a.node.Name, "endpoint", a.node.Endpoint, "platforms", s.platform, "error", oneLine(err))
	next, nextErr := w.elsewhere(ctx, a.share, err)
	if closeErr := s.close(); closeErr != nil {
		w.b.log.DebugContext(ctx, "closing the connection to a lost node", "node", a.node.Name, "error", closeErr)
	}
	if nextErr != nil {
		return nil, nextErr
	}
	a.end()
	w.shares[part] = next // for the end of the build
	w.b.log.WarnContext(ctx, "building again", "node", next.node.Name, "lost", a.node.Name)
	w.display.say(fmt.Sprintf("[warning] node %s was lost: building again on node %s", a.node.Name, next.node.Name))
	w.warn(ctx, next.share)
	lost := a.node.Name
	if err := w.gate(ctx, next.node); err != nil {
		return nil, fmt.Errorf("after node %s was lost: %w", lost, w.b.options.relieve(ctx, next.node, &spaceWatch{}, failure(ctx, err, next.node, "")))
	}
	s, err = w.attempt(ctx, part, 1, next.share)
	if err != nil {
		err = w.fail(ctx, s, err)
		if ctx.Err() == nil {
			err = fmt.Errorf("after node %s was lost: %w", lost, err)
		}
		return nil, err
	}
	s.retried = lost
	return s, nil
}

func (w *work) gate(ctx context.Context, node buildxsetup.Node) error {
	if w.b.options.Gate == nil {
		return nil
	}
	return w.b.options.Gate(ctx, node)
}

// admit returns the share on a node that has room for it: its own, else another one
// that offers the same. When none has, the error is that of the first.
func (w *work) admit(ctx context.Context, a assigned) (assigned, error) {
	left := w.b.current()
	var first error
	for {
		err := w.gate(ctx, a.node)
		if err == nil {
			return a, nil
		}
		a.end()
		if first == nil {
			first = w.b.options.relieve(ctx, a.node, &spaceWatch{}, failure(ctx, err, a.node, ""))
		}
		if ctx.Err() != nil || !buildxsetup.IsFull(err) {
			return a, first
		}
		full := a.node.Name
		left = nodesThat(left, func(n buildxsetup.Node) bool { return n.Name != full && a.runsOn(n) })
		if len(left) == 0 {
			return a, first
		}
		next, err := w.b.assignTo(ctx, left, a.wanted, w.key())
		if err != nil || len(next) != 1 {
			for _, n := range next {
				n.end()
			}
			return a, first
		}
		w.b.log.WarnContext(ctx, "building on another node", "node", next[0].node.Name, "full", full)
		a = next[0]
	}
}

// runsOn reports whether n can build the share as well as its own node: natively what
// that one runs natively.
func (s share) runsOn(n buildxsetup.Node) bool {
	if len(s.wanted) == 0 {
		p, ok := own(s.node)
		return ok && n.Native(p)
	}
	return !slices.ContainsFunc(s.wanted, func(p ocispecs.Platform) bool {
		return !n.Native(p) && (!n.Offers(p) || !slices.Contains(s.emulated, platforms.FormatAll(p)))
	})
}

// fail closes the solver of a failed attempt and says what went wrong.
func (w *work) fail(ctx context.Context, s *solver, err error) error {
	err = failure(ctx, err, s.node, s.dockerfileName())
	return errors.Join(w.b.options.relieve(ctx, s.node, &s.space, err), s.close())
}

// attempt solves for a part. The solver is there also with an error, which is
// BuildKit's own.
func (w *work) attempt(ctx context.Context, part, attempt int, share share) (*solver, error) {
	s, err := w.newSolver(ctx, part, attempt, share)
	if err != nil {
		return s, err
	}
	s.answers, err = s.known(ctx, slices.Concat(s.r.CacheFrom, s.r.cache().Imports(s.platform)))
	if err != nil {
		return s, err
	}
	if s.r.NoCache {
		s.answers.usable = nil // asked all the same, because the export goes there
	}
	watched, unwatch := w.b.options.watch(ctx, s.node)
	defer unwatch()
	s.response, err = s.solveImage(watched, s.answers.usable)
	if err != nil && ctx.Err() == nil && watched.Err() != nil {
		err = context.Cause(watched)
	}
	if err == nil && s.merger != nil && s.response[exptypes.ExporterImageDigestKey] != "" {
		// Now: until the last part is done this node may be gone.
		s.manifests, err = s.readManifests(ctx)
	}
	return s, err
}

// noticed returns open with a note that the caller's stream has begun: a second
// attempt could not take back what is in it.
func (s *solver) noticed(open func(map[string]string) (io.WriteCloser, error)) func(map[string]string) (io.WriteCloser, error) {
	if open == nil || s.merger != nil {
		return open
	}
	return func(m map[string]string) (io.WriteCloser, error) {
		s.streamed.Store(true)
		return open(m)
	}
}

// solveImage solves with cache imports and, when fetching a layer from one of
// their registries is what went wrong, once more without that registry's. Every
// try has an id of its own, because BuildKit keeps that of a solve for a while
// after its end; s.id is the last one.
func (s *solver) solveImage(ctx context.Context, imports []buildcache.Entry) (map[string]string, error) {
	for {
		response, err := s.solveOnce(ctx, imports)
		if err == nil || ctx.Err() != nil || s.streamed.Load() {
			return response, err
		}
		blamed := blamedFor(err, imports)
		if blamed == "" {
			return nil, err
		}
		s.b.log.WarnContext(ctx, "building again without the caches of a registry", "registry", blamed, "error", oneLine(err))
		imports = slices.DeleteFunc(slices.Clone(imports), func(e buildcache.Entry) bool { return registryOf(e) == blamed })
		s.id = identity.NewID()
	}
}

func (s *solver) solveOnce(ctx context.Context, imports []buildcache.Entry) (map[string]string, error) {
	opt, err := s.options(imports)
	if err != nil {
		return nil, err
	}
	opt.Ref = s.id
	if opt.Exports, err = s.exports(); err != nil {
		return nil, err
	}
	opt.CacheExports = solveEntries(s.r.CacheTo, s.r.Insecure)
	return s.solve(ctx, opt, func(st *client.SolveStatus) {
		s.recorder.add(st)
		s.space.see(st)
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

// again is a solver for the same part once more, with a connection and a view of
// its own. It has none of the secrets that only steps need.
func (s *solver) again(ctx context.Context) (*solver, error) {
	out := &solver{
		b: s.b, node: s.node, r: s.r, wanted: s.wanted, emulated: s.emulated, platform: s.platform,
		secrets: sourceSecrets(s.secrets), annotations: s.annotations, number: s.number, recorder: s.recorder, id: s.id,
		display: &view{display: s.display.display, prefix: s.display.prefix, salt: s.display.salt},
	}
	var err error
	out.client, err = s.node.Client(ctx) // this sends nothing yet
	return out, err
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

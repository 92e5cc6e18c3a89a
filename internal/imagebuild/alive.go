package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/dockless-ci/dockless/internal/buildcache"
)

// errImportSlow says that a cache registry was waited for long enough.
var errImportSlow = errors.New("the cache registry does not answer")

// answers is what buildkitd found out about the caches of a build.
type answers struct {
	usable []buildcache.Entry // imports that exist, and those nobody could ask about
	dead   map[string]error   // registries that cannot be reached, and why
	took   time.Duration      // to find out
}

// deadFor is how long a registry that did not answer is not asked again, so that
// a job of ten builds waits for it once.
const deadFor = time.Minute

// deadRegistries remembers which registries did not answer. Its zero value
// remembers none.
type deadRegistries struct {
	mu    sync.Mutex
	until map[string]time.Time
	why   map[string]error
}

func (d *deadRegistries) add(registry string, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until, d.why = make(map[string]time.Time), make(map[string]error)
	}
	d.until[registry], d.why[registry] = time.Now().Add(deadFor), why
}

// check returns why a registry is taken for dead, or nil.
func (d *deadRegistries) check(registry string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until[registry]) {
		return d.why[registry]
	}
	return nil
}

// known finds out which of the imports can be used now.
func (s *solver) known(ctx context.Context, imports []buildcache.Entry) (answers, error) {
	start := time.Now()
	dead := make(map[string]error)
	var open []buildcache.Entry
	for _, e := range imports {
		registry := registryOf(e)
		if why := s.b.dead.check(registry); registry != "" && why != nil {
			dead[registry] = why
			continue
		}
		open = append(open, e)
	}
	out, err := s.ask(ctx, open, s.r.Cache.ImportTimeout)
	if err != nil {
		return out, err
	}
	for registry, why := range out.dead {
		s.b.dead.add(registry, why)
	}
	maps.Copy(out.dead, dead)
	for registry, why := range out.dead {
		s.b.log.WarnContext(ctx, "building without the caches of a registry", "registry", registry, "error", why)
	}
	out.took = time.Since(start)
	return out, nil
}

// ask lets buildkitd look up every cache reference before the build imports it.
//
// BuildKit imports a cache inside its scheduler, which one goroutine drives for
// all builds, and cannot be told to stop: one registry that takes a connection
// and says nothing stops every build of that buildkitd until it is restarted
// (seen with v0.34.2). Looking a reference up is an ordinary request that ends
// with its context. It is made from where the import would be made, with
// buildkitd's own idea of mirrors and certificates, and it spares the build the
// imports of branches that have no cache yet.
func (s *solver) ask(ctx context.Context, refs []buildcache.Entry, longest time.Duration) (answers, error) {
	out := answers{dead: make(map[string]error)}
	if longest <= 0 {
		longest = buildcache.DefaultImportTimeout
	}
	var lookups []buildcache.Entry
	for _, e := range refs {
		if registryOf(e) == "" {
			out.usable = append(out.usable, e)
		} else {
			lookups = append(lookups, e)
		}
	}
	if len(lookups) == 0 {
		return out, nil
	}
	found := make([]error, len(lookups))
	err := s.gateway(ctx, func(ctx context.Context, gw gateway.Client) {
		// Not a deadline: gRPC would hand it on, and buildkitd's answer to it can
		// arrive before our own context has ended.
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		timer := time.AfterFunc(longest, func() { cancel(fmt.Errorf("%w within %s", errImportSlow, longest)) })
		defer timer.Stop()
		var g errgroup.Group
		for i, e := range lookups {
			g.Go(func() error {
				found[i] = lookUp(ctx, gw, e)
				return nil
			})
		}
		_ = g.Wait() // the answers are in found
	})
	if err != nil {
		return out, err
	}
	for i, e := range lookups {
		switch {
		case found[i] == nil:
			out.usable = append(out.usable, e)
		case isUnreachable(found[i]):
			out.dead[registryOf(e)] = &solveError{text: oneLine(found[i]), err: found[i]}
		case !isAbsent(found[i]):
			out.usable = append(out.usable, e)
		}
	}
	return out, nil
}

// gateway opens a build that solves nothing and lets f ask its questions.
func (s *solver) gateway(ctx context.Context, f func(context.Context, gateway.Client)) error {
	auth, err := s.r.Auth.Attachable()
	if err != nil {
		return err
	}
	statuses := make(chan *client.SolveStatus)
	var drained sync.WaitGroup
	drained.Go(func() {
		for range statuses { // closed by Build
		}
	})
	opt := client.SolveOpt{Ref: identity.NewID(), Internal: true}
	opt.Session = append(opt.Session, auth)
	_, err = s.client.Build(ctx, opt, "", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		f(ctx, gw)
		return gateway.NewResult(), nil
	}, statuses)
	drained.Wait()
	return err
}

// lookUp returns nil when the cache exists and answers.
func lookUp(ctx context.Context, gw gateway.Client, e buildcache.Entry) error {
	named, err := reference.ParseNormalizedNamed(e.Attrs["ref"])
	if err != nil {
		return fmt.Errorf("reading the cache reference %q: %w", e.Attrs["ref"], err)
	}
	op := &pb.SourceOp{Identifier: "docker-image://" + reference.TagNameOnly(named).String()}
	_, err = gw.ResolveSourceMetadata(ctx, op, sourceresolver.Opt{
		LogName:  "looking for the cache " + named.String(),
		ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: llb.ResolveModeForcePull.String()},
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// isUnreachable reports whether asking again is pointless in this build. The
// reasons that buildkitd's connection failed for reach us as text.
// In doubt it is so: a build without a cache is slow, one that imports from a
// registry that does not answer never ends.
func isUnreachable(err error) bool {
	switch grpcerrors.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled, codes.Unavailable:
		return true
	}
	if errors.Is(err, errImportSlow) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	return slices.ContainsFunc(connectionFailures, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// connectionFailures are what net/http says inside buildkitd.
var connectionFailures = []string{"dial tcp", "i/o timeout", "context deadline exceeded", "context canceled", "EOF", "connection reset"}

// isAbsent reports whether the registry answered that there is no such cache.
// Of an existing cache BuildKit says that it is no image, which is as good as
// finding it.
func isAbsent(err error) bool {
	return strings.HasSuffix(oneLine(err), ": not found")
}

package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/internal/buildcache"
)

// registryOf returns the registry of a cache entry, host[:port], or "".
func registryOf(e buildcache.Entry) string {
	if e.Type != "registry" {
		return ""
	}
	named, err := reference.ParseNormalizedNamed(e.Attrs["ref"])
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// blamedFor returns the registry of the cache import that a solve failed for, or
// "". Layers that a cache promised are fetched when they are needed, and what
// the registry says then reaches us as text. A step that ran and failed is never
// the registry's fault.
func blamedFor(err error, imports []buildcache.Entry) string {
	if strings.Contains(err.Error(), "did not complete successfully") {
		return ""
	}
	for _, e := range imports {
		if host := registryOf(e); host != "" && strings.Contains(err.Error(), host) {
			return host
		}
	}
	return ""
}

// errRebuilding ends a cache export that would run steps.
var errRebuilding = errors.New("the node has dropped a step's result in the meantime, and an export must not run it again")

// exportCache solves the build again, every step of it cached now, with the
// cache export as the only output. It comes second so that the image is pushed
// by then, and can be given up without harm.
//
// It imports what the first solve imported: steps that came from there are not
// on the node as long as nobody needed their files. A registry that did not
// answer before is not tried again.
func (s *solver) exportCache(ctx context.Context, entry buildcache.Entry, known answers) *CacheExport {
	start := time.Now()
	out := &CacheExport{Ref: entry.Attrs["ref"]}
	if dead := known.dead[registryOf(entry)]; dead != nil {
		out.Err = fmt.Errorf("exporting the cache to %s: %w", out.Ref, dead)
		return out
	}
	err := s.solveExport(ctx, entry, known.usable)
	out.Duration = time.Since(start)
	if err != nil {
		out.Err = fmt.Errorf("exporting the cache to %s: %w", out.Ref, err)
		if ctx.Err() == nil {
			s.b.log.WarnContext(ctx, "cache not exported", "ref", out.Ref, "duration", out.Duration, "error", err)
		}
		return out
	}
	s.b.log.DebugContext(ctx, "cache exported", "ref", out.Ref, "duration", out.Duration)
	return out
}

func (s *solver) solveExport(ctx context.Context, entry buildcache.Entry, imports []buildcache.Entry) error {
	longest := s.r.Cache.ExportTimeout
	if longest <= 0 {
		longest = buildcache.DefaultExportTimeout
	}
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, longest, fmt.Errorf("not done within %s", longest))
	defer cancelTimeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opt, err := s.options(imports)
	if err != nil {
		return err
	}
	delete(opt.FrontendAttrs, "no-cache")
	opt.Ref = identity.NewID()
	opt.CacheExports = solveEntries([]buildcache.Entry{entry}, s.r.Insecure)
	shown := make(map[digest.Digest]bool)
	var failure string // of the export, which ignore-error keeps out of the answer
	_, err = s.solve(ctx, opt, func(st *client.SolveStatus) {
		for _, v := range st.Vertexes {
			if rebuilt(v) {
				cancel(errRebuilding)
			}
			if strings.HasPrefix(v.Name, exportPrefix) && v.Error != "" {
				failure = firstLine(v.Error)
			}
		}
		if part := only(st, exportPrefix, shown); part != nil {
			s.display.show(part)
		}
	})
	switch {
	case ctx.Err() != nil && err != nil:
		return context.Cause(ctx)
	case err != nil:
		return errors.New(oneLine(err))
	case failure != "":
		return errors.New(failure)
	}
	return nil
}

// rebuilt reports whether a vertex is a step that ran, not merely looked up:
// without inputs, BuildKit tells of fetching layers only.
func rebuilt(v *client.Vertex) bool {
	return stepName.MatchString(v.Name) && !isBase(v.Name) && v.Completed != nil && !v.Cached && len(v.Inputs) > 0
}

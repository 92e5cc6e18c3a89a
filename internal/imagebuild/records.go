package imagebuild

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/explain"
)

// memory is what a Builder knows of earlier builds. Its zero value is ready.
type memory struct {
	once    sync.Once
	store   explain.Store
	recent  explain.Store // of this process, which may not be in the store yet
	sums    explain.Sums
	pushing sync.WaitGroup
	warned  sync.Once
}

func (m *memory) in(stateDir string) *memory {
	m.once.Do(func() {
		if stateDir != "" {
			m.store.Dir = filepath.Join(stateDir, "records")
			m.sums.Dir = filepath.Join(stateDir, "records", "sums")
		}
	})
	return m
}

// wait returns when no record is being written or pushed any more, or ctx ends;
// each push is bounded.
func (m *memory) wait(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.pushing.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// key says which builds this one is compared with, but for the branch.
func (q *inquiry) key() explain.Key {
	k := explain.Key{Target: q.r.Target, Dockerfile: "-", Platforms: q.platforms()}
	policy := q.r.cache()
	if k.Name = policy.Repository(); k.Name == "" {
		k.Name = policy.Name
	}
	// Two projects may give their images one name.
	switch k.Origin = q.r.Provenance.Source; {
	case k.Origin != "" && (policy.Repo != "" || q.r.Cache.Name != "" || len(q.r.Tags) > 0):
	case policy.Repo != "": // other machines build it in other places
	case q.r.remote():
		k.Origin, _, _ = strings.Cut(q.r.Context, "#") // without the branch
	default:
		k.Origin, _ = filepath.Abs(q.r.Context) // the build itself fails where this does
	}
	if q.r.DockerfileText == nil && q.r.Dockerfile != "" {
		k.Dockerfile = q.r.Dockerfile
		if rel, err := filepath.Rel(q.r.Context, q.r.Dockerfile); err == nil && filepath.IsLocal(rel) {
			k.Dockerfile = rel
		}
	} else if q.r.DockerfileText == nil {
		k.Dockerfile = "Dockerfile"
	}
	return k
}

// scopes returns the keys of the records to compare with, the best first, and
// that of the record to keep.
func (q *inquiry) scopes() (read []explain.Key, write explain.Key) {
	policy := q.r.cache()
	scopes, own := policy.Scopes("")
	write = q.key()
	for _, s := range append([]string{own}, scopes...) {
		k := write
		if k.Scope = s; !slices.Contains(read, k) {
			read = append(read, k)
		}
	}
	write.Scope = own
	return read, write
}

// findLast returns the record of the last good build: of this branch, else of
// those that its cache comes from. In doubt there is none.
func (q *inquiry) findLast(ctx context.Context) *explain.Record {
	ctx, cancel := context.WithTimeoutCause(ctx, recordTimeout, fmt.Errorf("no answer within %s", recordTimeout))
	defer cancel()
	keys, _ := q.scopes()
	found := make([]*explain.Record, len(keys))
	registry, ask := q.registry()
	memory := q.b.records.in(q.b.options.StateDir)
	var g errgroup.Group
	for i, k := range keys {
		g.Go(func() error {
			found[i] = memory.recent.Load(k)
			if kept := memory.store.Load(k); found[i] == nil || kept != nil && kept.Time.After(found[i].Time) {
				found[i] = kept
			}
			if !ask {
				return nil
			}
			var after time.Time
			if found[i] != nil {
				after = found[i].Time
			}
			newer, err := registry.Load(ctx, k, after)
			if err != nil {
				q.b.log.DebugContext(ctx, "no record of a build", "repository", registry.Repository, "scope", k.Scope, "error", err)
			}
			if newer != nil {
				found[i] = newer
			}
			return nil
		})
	}
	_ = g.Wait() // the answers are in found
	for _, r := range found {
		if r != nil {
			return r
		}
	}
	return nil
}

// registry returns where records are beside the caches, and whether it can be
// asked.
func (q *inquiry) registry() (explain.Registry, bool) {
	repo := q.r.cache().Repository()
	named, err := reference.ParseNormalizedNamed(repo)
	if repo == "" || err != nil || q.b.dead.check(reference.Domain(named)) != nil {
		return explain.Registry{}, false
	}
	return explain.Registry{Repository: repo, Auth: q.r.Auth, Insecure: q.r.Insecure}, true
}

// keep keeps the record of a good build, in the background: on this machine, and,
// when the build may write a cache, beside that.
func (q *inquiry) keep(ctx context.Context, result *Result, record *explain.Record) {
	policy := q.r.cache()
	if e := result.Export; e != nil && e.Err == nil && e.Skipped == "" {
		record.Export = e.Ref
	}
	memory := q.b.records.in(q.b.options.StateDir)
	_, k := q.scopes()
	_ = memory.recent.Save(k, record) // in memory, where nothing can fail
	registry, ask := q.registry()
	ctx = context.WithoutCancel(ctx)
	memory.pushing.Go(func() {
		if err := memory.store.Save(k, record); err != nil {
			memory.warned.Do(func() { q.b.log.WarnContext(ctx, "the next build cannot be compared with this one", "error", err) })
		}
		if !ask || policy.Mode == buildcache.ModeOff {
			return
		}
		ctx, cancel := context.WithTimeoutCause(ctx, recordPushTimeout, fmt.Errorf("not done within %s", recordPushTimeout))
		defer cancel()
		if err := registry.Save(ctx, k, record); err != nil {
			q.b.log.DebugContext(ctx, "record of the build not pushed", "repository", registry.Repository, "error", err)
		}
	})
}

// platforms is how caches name what is built for.
func (q *inquiry) platforms() string {
	wanted, err := q.r.platforms()
	if err != nil {
		return ""
	}
	names := make([]string, len(wanted))
	for i, p := range wanted {
		names[i] = platforms.FormatAll(p)
	}
	return strings.Join(names, ",")
}

// nodeIDs returns what tells the nodes of a build from others of the same name:
// a worker keeps its id with its cache.
func (q *inquiry) nodeIDs(result *Result) []string {
	names := []string{result.Node}
	for _, p := range result.Parts {
		names = append(names, p.Node)
	}
	var out []string
	for _, n := range q.b.current() {
		if !slices.Contains(names, n.Name) {
			continue
		}
		id := n.Endpoint
		if len(n.Workers) > 0 {
			id = n.Workers[0].ID
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

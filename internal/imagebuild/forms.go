package imagebuild

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/sharedstate"
)

const (
	// refusedFor is how long a registry is written to in a weaker form before the
	// best one is tried again: registries are updated every few months, and asking
	// costs one refused manifest a week.
	refusedFor = 7 * 24 * time.Hour
	// maxRegistries is more than a machine ever exports caches to.
	maxRegistries = 64
)

// registryForm is what a registry is known to take.
type registryForm struct {
	Form   buildcache.Form `json:"form"`
	Reason string          `json:"reason,omitempty"` // why it is not a better one
	Since  time.Time       `json:"since"`
}

// forms remembers in what form each registry takes caches, by host[:port].
type forms struct {
	sharedstate.Value[map[string]registryForm]
}

// of returns the form for a registry, and whether it is known to take it.
func (f *forms) of(ctx context.Context, registry string) (form buildcache.Form, known bool, err error) {
	err = f.Change(ctx, func(all *map[string]registryForm) {
		r, ok := (*all)[registry]
		age := time.Since(r.Since)
		if ok && r.Form.Valid() && (r.Form == buildcache.FormZstd || age >= 0 && age < refusedFor) {
			form, known = r.Form, true
		}
	})
	return form, known, err
}

// learn remembers that a registry takes a form, and why no better one.
func (f *forms) learn(ctx context.Context, registry string, form buildcache.Form, reason string) error {
	return f.Change(ctx, func(all *map[string]registryForm) {
		if *all == nil {
			*all = make(map[string]registryForm)
		}
		(*all)[registry] = registryForm{Form: form, Reason: reason, Since: time.Now()}
		for len(*all) > maxRegistries {
			delete(*all, slices.MinFunc(slices.Collect(maps.Keys(*all)), func(a, b string) int { return (*all)[a].Since.Compare((*all)[b].Since) }))
		}
	})
}

// forget drops what is known of a registry.
func (f *forms) forget(ctx context.Context, registry string) error {
	return f.Change(ctx, func(all *map[string]registryForm) { delete(*all, registry) })
}

// isRefusal reports whether a registry refused the form of a cache rather than
// the cache. What it said reaches us as text, from the request with the manifest:
// the types of layers are in there and nowhere before.
//
// Seen: ECR and Quay answer 400 with MANIFEST_INVALID or nothing, Artifactory and
// zot 415, Nexus 400, Harbor 404 for a list whose entries are no manifests; of
// the codes, BuildKit passes UNSUPPORTED on and calls all these "unknown". The
// same 400 says that a tag cannot be overwritten or that there is no room, which
// no other form changes.
func isRefusal(err error) bool {
	_, said, ok := strings.Cut(strings.ToLower(err.Error()), "writing manifest blob: ")
	if !ok {
		return false
	}
	has := func(part string) bool { return strings.Contains(said, part) }
	if slices.ContainsFunc([]string{"immutable", "overwrit", "denied", "quota", "toomanyrequests", "unauthorized", "unavailable:"}, has) {
		return false
	}
	if slices.ContainsFunc([]string{": 400 ", ": 404 ", ": 405 ", ": 406 ", ": 415 ", ": 422 ", "unsupported:"}, has) {
		return true
	}
	return has("unknown:") && slices.ContainsFunc([]string{"manifest", "media", "invalid", "support", "schema"}, has)
}

package imagebuild

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/internal/buildcache"
)

// registryOf returns the registry of a cache entry, host[:port], or "".
func registryOf(e buildcache.Entry) string {
	registry, _ := placeOf(e)
	return registry
}

func placeOf(e buildcache.Entry) (registry, repository string) {
	if e.Type != "registry" {
		return "", ""
	}
	named, err := reference.ParseNormalizedNamed(e.Attrs["ref"])
	if err != nil {
		return "", ""
	}
	return reference.Domain(named), reference.Path(named)
}

// blamedFor returns the registry of the cache import that a solve failed for, or
// "". Layers that a cache promised are fetched when they are needed, and what
// the registry says then reaches us as text, with the address that was asked. A
// step that ran and failed is never the cache's fault, and a push that failed only
// when it could not read what the cache had promised: the image often goes to the
// same registry.
func blamedFor(err error, imports []buildcache.Entry) string {
	text := err.Error()
	if strings.Contains(text, "did not complete successfully") {
		return ""
	}
	pushing := strings.Contains(text, "failed to push")
	if pushing && !strings.Contains(text, "GET request to ") && !strings.Contains(text, `Get "`) {
		return ""
	}
	for _, e := range imports {
		host := registryOf(e)
		if host == "" {
			continue
		}
		named, err := reference.ParseNormalizedNamed(e.Attrs["ref"])
		if err != nil {
			continue
		}
		// Not with the host before it, which a mirror and docker.io have another one of.
		repository := "/v2/" + reference.Path(named) + "/"
		if strings.Contains(text, repository+"blobs/") || strings.Contains(text, repository+"manifests/") || strings.Contains(text, reference.TagNameOnly(named).String()) {
			return host
		}
	}
	return ""
}

// rebuilt reports whether a vertex is a step that ran since begun, not merely
// looked up: without inputs, BuildKit tells of fetching layers only, and what
// started earlier is the step of another build, which they share.
func rebuilt(v *client.Vertex, begun time.Time) bool {
	if v.Started == nil || v.Started.Before(begun) {
		return false
	}
	return stepName.MatchString(v.Name) && !isBase(v.Name) && v.Completed != nil && !v.Cached && len(v.Inputs) > 0
}

// imported returns the references of the policy's imports that were used, in
// order.
func (s *solver) imported(usable []buildcache.Entry) []string {
	var out []string
	for _, policy := range s.r.cache().Imports(s.platform) {
		for _, e := range usable {
			if e.Attrs["ref"] == policy.Attrs["ref"] {
				out = append(out, e.Attrs["ref"])
				break
			}
		}
	}
	return out
}

// unlearned tells, once, that builds of other processes will not know what this
// one found out.
func (s *solver) unlearned(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.b.exports.untold.Do(func() { s.b.log.WarnContext(ctx, "what builds learn is not kept", "error", err) })
	}
}

// sourceSecrets are those that BuildKit uses to look for sources, by the names it
// gives them. Steps do not run in an export, so theirs stay here.
func sourceSecrets(all map[string][]byte) map[string][]byte {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(id string, _ []byte) bool {
		return !strings.HasPrefix(id, "GIT_AUTH_") && !strings.HasPrefix(id, "HTTP_AUTH_")
	})
	return out
}

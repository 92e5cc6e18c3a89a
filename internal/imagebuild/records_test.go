package imagebuild

import (
	"testing"

	"github.com/dockless-ci/dockless/internal/buildcache"
)

func TestBuildsAreComparedWithThoseOfTheSameSource(t *testing.T) {
	shop, depot := Provenance{Source: "https://example.com/shop"}, Provenance{Source: "https://example.com/depot"}
	cached := buildcache.Policy{Repo: "registry.example.com/cache"}
	for name, c := range map[string]struct {
		a, b Request
		same bool
	}{
		"one project in two workspaces": {
			Request{Context: "/w/1/s", Tags: []string{"app:1"}, Provenance: shop}, Request{Context: "/w/2/s", Tags: []string{"app:2"}, Provenance: shop}, true,
		},
		"two projects with one image name": {
			Request{Context: "/w/1/s", Tags: []string{"app:1"}, Provenance: shop}, Request{Context: "/w/1/s", Tags: []string{"app:1"}, Provenance: depot}, false,
		},
		"two projects with one cache": {
			Request{Context: "/w/1/s", Tags: []string{"app:1"}, Cache: cached, Provenance: shop}, Request{Context: "/w/1/s", Tags: []string{"app:1"}, Cache: cached, Provenance: depot}, false,
		},
		"two directories of a user, one name": {
			Request{Context: "/home/me/a", Tags: []string{"app"}}, Request{Context: "/home/me/b", Tags: []string{"app"}}, false,
		},
		"two machines of nobody, one cache": {
			Request{Context: "/home/me/a", Tags: []string{"app"}, Cache: cached}, Request{Context: "/home/you/b", Tags: []string{"app"}, Cache: cached}, true,
		},
		"two branches of a URL": {
			Request{Context: "https://example.com/shop.git#main"}, Request{Context: "https://example.com/shop.git#fix"}, true,
		},
		"two targets": {
			Request{Context: "/home/me/a", Target: "test"}, Request{Context: "/home/me/a"}, false,
		},
	} {
		a, b := (&inquiry{r: &c.a}).key(), (&inquiry{r: &c.b}).key()
		if (a == b) != c.same {
			t.Errorf("%s: the keys are %+v and %+v, want them the same: %v", name, a, b, c.same)
		}
	}
}

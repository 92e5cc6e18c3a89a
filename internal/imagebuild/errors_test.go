package imagebuild

import (
	"errors"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
)

func TestACacheIsBlamedForWhatItPromisedAndForNothingElse(t *testing.T) {
	imports := []buildcache.Entry{{Type: "registry", Attrs: map[string]string{"ref": "reg:5000/cache/shop:main"}}}
	for name, test := range map[string]struct{ text, want string }{
		"a layer cannot be fetched":      {`failed to copy: httpReadSeeker: failed open: unexpected status from GET request to http://reg:5000/v2/cache/shop/blobs/sha256:1: 503 Service Unavailable`, "reg:5000"},
		"the cache cannot be asked":      {`failed to configure registry cache importer: failed to do request: Head "http://reg:5000/v2/cache/shop/manifests/main": EOF`, "reg:5000"},
		"a layer is missing at the push": {`failed to push reg:5000/team/shop:1: failed to copy: failed to do request: Get "http://reg:5000/v2/cache/shop/blobs/sha256:1": EOF`, "reg:5000"},
		"the same registry takes no push": {
			`failed to push reg:5000/team/shop:1: unexpected status from HEAD request to http://reg:5000/v2/team/shop/blobs/sha256:1: 503 Service Unavailable`, "",
		},
		"a push into the repository of the cache": {
			`failed to push reg:5000/cache/shop:1: failed to do request: Put "http://reg:5000/v2/cache/shop/manifests/1": EOF`, "",
		},
		"a step names the registry": {`process "/bin/sh -c curl reg:5000/v2/cache/shop" did not complete successfully: exit code: 7`, ""},
		"another registry":          {`failed to do request: Get "https://other/v2/": EOF`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := blamedFor(errors.New(test.text), imports); got != test.want {
				t.Errorf("blamedFor(%q) = %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func TestARegistryThatFailsComesWithOneHint(t *testing.T) {
	for text, want := range map[string]string{
		`failed to push r/a:1: unexpected status from HEAD request to https://r/v2/a/blobs/sha256:1: 503 Service Unavailable`: "build again",
		`failed to push r/a:1: failed to do request: Head "https://r/v2/a/blobs/sha256:1": dial tcp: connection refused`:      "build again",
		`failed to push r/a:1: unexpected status from POST request to https://r/v2/a/blobs/uploads/: 403 Forbidden`:           "docker login",
		`r/a:1: failed to resolve source metadata for r/a:1: failed to do request: Head "https://r/v2/": dial tcp: refused`:   "registry of that image",
		`r/a:1: failed to resolve source metadata for r/a:1: unexpected status from HEAD request: 502 Bad Gateway`:            "registry of that image",
		`r/a:1: failed to resolve source metadata for r/a:1: r/a:1: not found`:                                                "",
	} {
		hints := hint.All(advise(errors.New(text), text))
		if want == "" && len(hints) > 0 || want != "" && (len(hints) != 1 || !strings.Contains(hints[0], want)) {
			t.Errorf("hints for %q = %q, want %q", text, hints, want)
		}
	}
}

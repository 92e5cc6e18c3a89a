package imagebuild

import (
	"errors"
	"testing"

	"github.com/dockless-ci/dockless/internal/buildcache"
)

func TestOnlyACacheThatTheErrorNamesIsBlamed(t *testing.T) {
	imports := []buildcache.Entry{
		{Type: "local", Attrs: map[string]string{"src": "/cache"}},
		{Type: "registry", Attrs: map[string]string{"ref": "cr.example:5000/cache/shop:main"}},
		{Type: "registry", Attrs: map[string]string{"ref": "team/cache"}},
	}
	for text, want := range map[string]string{
		"failed to copy: httpReadSeeker: failed open: unexpected status from GET request to http://cr.example:5000/v2/cache/shop/blobs/sha256:1234: 500 Internal Server Error": "cr.example:5000",
		"unexpected status from HEAD request to https://cr.example:5000/v2/cache/shop/manifests/main: 403 Forbidden":                                                           "cr.example:5000",
		"failed to configure registry cache importer: cr.example:5000/cache/shop:main: no answer":                                                                              "cr.example:5000",
		"unexpected status from GET request to https://registry-1.docker.io/v2/team/cache/blobs/sha256:12: 429 Too Many Requests":                                              "docker.io",
		"failed to push cr.example:5000/team/shop:1: unexpected status from POST request to http://cr.example:5000/v2/team/shop/blobs/uploads/: 403 Forbidden":                 "",
		"failed to push cr.example:5000/cache/shop:main: denied: http://cr.example:5000/v2/cache/shop/blobs/uploads/":                                                          "",
		"unexpected status from GET request to http://cr.example:5000/v2/base/shop/blobs/sha256:12: 404 Not Found":                                                             "",
		"cr.example:5000/base: not found": "",
		`process "/bin/sh -c curl http://cr.example:5000/v2/cache/shop/blobs/x" did not complete successfully: exit code: 22`: "",
	} {
		if got := blamedFor(errors.New(text), imports); got != want {
			t.Errorf("blamedFor(%q) = %q, want %q", text, got, want)
		}
	}
}

package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/test/rig"
)

func TestABuildGoesOnWithoutACacheWhoseLayersItsRegistryRefuses(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	r := h.request(t, "main", buildcache.ModeSync)
	first, _ := h.build(t, r)
	if first.Export == nil || first.Export.Err != nil || first.Export.Bytes == 0 {
		t.Fatalf("export = %+v, want one", first.Export)
	}
	layers := layersOf(t, first.Export.Ref)
	var refused atomic.Int32
	g.set(func(w http.ResponseWriter, r *http.Request) bool {
		for _, l := range layers {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/cache/shop/blobs/"+l) {
				refused.Add(1)
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}
		}
		return false
	})
	h.empty(t)
	r.Tags, r.Push = []string{h.registry + "/shop:1"}, true
	r.Outputs = []imagebuild.Output{{Type: "oci", Dest: filepath.Join(t.TempDir(), "shop.tar")}} // needs the layers here
	result, shown := h.build(t, r)
	if refused.Load() == 0 {
		t.Fatalf("no layer of the cache was asked for\n%s", shown)
	}
	if result.Stats.Steps == 0 || result.Stats.Cached == result.Stats.Steps {
		t.Errorf("stats = %+v, want steps that ran\n%s", result.Stats, shown)
	}
	digest, _ := pushed(t, r.Tags[0])
	if digest != result.Digest.String() {
		t.Errorf("the registry has %s, want %s", digest, result.Digest)
	}
}

func TestARefusedPushToTheRegistryOfTheCacheIsTheError(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	r := h.request(t, "main", buildcache.ModeSync)
	h.build(t, r)
	var begun atomic.Int32
	g.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/v2/team/") {
			return false
		}
		begun.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"you may not"}]}`)
		return true
	})
	r.Tags, r.Push = []string{h.registry + "/team/shop:1"}, true
	var shown bytes.Buffer
	_, err := h.Build(t.Context(), r, imagebuild.Progress{Mode: "plain", Out: &shown})
	if err == nil || !strings.Contains(err.Error(), "denied") || !strings.Contains(strings.Join(hint.All(err), " "), "log in") {
		t.Errorf("Build() = %v (hints %q), want the refusal with a hint\n%s", err, hint.All(err), shown.String())
	}
	if n := vertices(shown.String(), " exporting to image\n"); n != 1 {
		t.Errorf("the image was exported %d times\n%s", n, shown.String())
	}
	t.Logf("%d uploads begun", begun.Load())
}

func TestAForkSharesNoCacheMountsButTheCaches(t *testing.T) {
	h := needCacheHost(t, rig.RegistryOptions{})
	r := h.request(t, "main", buildcache.ModeSync)
	r.Secrets = nil
	r.Context = writeTree(t, map[string]string{"Dockerfile": "FROM busybox AS work\nCOPY in /\nRUN --mount=type=cache,id=shared,target=/c cat /c/seen > /seen 2>/dev/null; cp /in /c/seen\nFROM scratch\nCOPY --from=work /seen /\n", "in": "ours\n"})
	seen := func(r imagebuild.Request) (string, imagebuild.Stats) {
		out := t.TempDir()
		r.Outputs = []imagebuild.Output{{Type: "local", Dest: out}}
		result, _ := h.build(t, r)
		return read(t, filepath.Join(out, "seen")), result.Stats
	}
	seen(r)
	fork := r
	fork.Cache.Fork, fork.Cache.Branch, fork.Cache.TargetBranch = "mallory/shop", "patch", "main"
	h.empty(t)
	if _, stats := seen(fork); stats.Cached != stats.Steps {
		t.Errorf("stats of the fork's build = %+v, want all of it from the target's cache", stats)
	}
	change := func(text string) {
		if err := os.WriteFile(filepath.Join(r.Context, "in"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change("ours again\n")
	seen(r)
	change("theirs\n")
	if got, _ := seen(fork); got != "" {
		t.Errorf("the fork's step found %q in the cache mount of ours", got)
	}
	change("ours at last\n")
	if got, _ := seen(r); got != "ours again\n" {
		t.Errorf("our step found %q in its cache mount, want what ours left there", got)
	}
}

// layersOf returns the digests of the layers of a manifest, whatever they are.
func layersOf(t *testing.T, image string) []string {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Get(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(got.Manifest, &manifest); err != nil || len(manifest.Layers) == 0 {
		t.Fatalf("the cache %s has no layers: %v\n%s", image, err, got.Manifest)
	}
	var out []string
	for _, l := range manifest.Layers {
		out = append(out, l.Digest.String())
	}
	return out
}

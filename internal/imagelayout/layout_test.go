package imagelayout

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/registryhttp"
)

// newLayout makes a layout with one image for one platform under a name and an
// index of two platforms under another.
func newLayout(tb testing.TB, single, multi string) (Layout, v1.Image, v1.ImageIndex) {
	tb.Helper()
	img, err := random.Image(2000, 3)
	if err != nil {
		tb.Fatal(err)
	}
	arm, err := random.Image(1000, 1)
	if err != nil {
		tb.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
	)
	dir := tb.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		tb.Fatal(err)
	}
	if err := path.AppendImage(img, layout.WithAnnotations(map[string]string{annotationName: single})); err != nil {
		tb.Fatal(err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{annotationName: multi})); err != nil {
		tb.Fatal(err)
	}
	return Layout{Dir: dir}, img, index
}

// startRegistry starts a registry and returns its address.
func startRegistry(tb testing.TB, guard func(http.Handler) http.Handler) string {
	tb.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if guard != nil {
		handler = guard(handler)
	}
	srv := httptest.NewServer(handler)
	tb.Cleanup(srv.Close)
	tb.Cleanup(http.DefaultClient.CloseIdleConnections)
	tb.Cleanup(remote.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestPushSendsTheSameBytes(t *testing.T) {
	addr := startRegistry(t, nil)
	single, multi := addr+"/team/one:1", addr+"/team/two:1"
	l, img, index := newLayout(t, single, multi)
	got, err := l.Push(t.Context(), single, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := img.Digest(); got.String() != want.String() {
		t.Errorf("Push() = %s, want %s", got, want)
	}
	if got, err = l.Push(t.Context(), multi, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	want, _ := index.Digest()
	if got.String() != want.String() {
		t.Errorf("Push(index) = %s, want %s", got, want)
	}
	ref, err := name.ParseReference(multi)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := remote.Head(ref, remote.WithContext(t.Context())); err != nil || d.Digest != want {
		t.Errorf("the registry has %v, %v, want %s", d, err, want)
	}
}

func TestPushLogsInWithTheDockerConfiguration(t *testing.T) {
	addr := startRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	image := addr + "/one:1"
	l, _, _ := newLayout(t, image, "reg/two:1")
	_, err := l.Push(t.Context(), image, PushOptions{})
	if hints := hint.All(err); err == nil || len(hints) == 0 || !strings.Contains(hints[0], addr) {
		t.Errorf("Push without credentials = %v with hints %q, want a hint that names %s", err, hints, addr)
	}
	dir := t.TempDir()
	config := `{"auths":{"` + addr + `":{"auth":"bWU6c2VjcmV0"}}}` // me:secret
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	auth, err := registryauth.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Push(t.Context(), image, PushOptions{Auth: auth}); err != nil {
		t.Errorf("Push with credentials = %v", err)
	}
}

func TestAnImageThatWasNotBuiltIsNotPushed(t *testing.T) {
	l := Layout{Dir: filepath.Join(t.TempDir(), "absent")}
	if _, err := l.Push(t.Context(), "reg/a:1", PushOptions{}); !errors.Is(err, ErrNotFound) || len(hint.All(err)) == 0 {
		t.Errorf("Push() = %v, want ErrNotFound with a hint", err)
	}
	if images, err := l.Images(); err != nil || len(images) != 0 {
		t.Errorf("Images() = %v, %v, want none", images, err)
	}
}

func TestATagNamesTheSameImage(t *testing.T) {
	l, img, _ := newLayout(t, "docker.io/library/one:1", "docker.io/library/two:1")
	if err := l.Tag(t.Context(), "one:1", "reg/other:2"); err != nil {
		t.Fatal(err)
	}
	images, err := l.Images()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range images {
		names = append(names, i.Name)
	}
	if diff := cmp.Diff([]string{"docker.io/library/one:1", "docker.io/library/two:1", "docker.io/reg/other:2"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if want, _ := img.Digest(); images[2].Digest.String() != want.String() {
		t.Errorf("tagged %s, want %s", images[2].Digest, want)
	}
	if err := l.Tag(t.Context(), "absent:1", "reg/x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Tag of an absent image = %v, want ErrNotFound", err)
	}
}

func TestAnArchiveIsWhatDockerLoadReads(t *testing.T) {
	l, img, index := newLayout(t, "docker.io/library/one:1", "reg.example/two:1")
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	arm, err := index.Image(manifest.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		image, platform string
		want            v1.Image
	}{
		"one platform":             {"one:1", "", img},
		"the platform of an index": {"reg.example/two:1", "linux/arm64", arm},
	} {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			if err := l.WriteArchive(t.Context(), test.image, test.platform, &buf); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "image.tar")
			if err := os.WriteFile(file, buf.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := tarball.ImageFromPath(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := test.want.ConfigName()
			if id, err := got.ConfigName(); err != nil || id != want {
				t.Errorf("image in the archive = %v, %v, want %v", id, err, want)
			}
		})
	}
	err = l.WriteArchive(t.Context(), "reg.example/two:1", "linux/riscv64", io.Discard)
	if err == nil || len(hint.All(err)) == 0 {
		t.Errorf("WriteArchive for another platform = %v, want an error with a hint", err)
	}
}

func TestOnlyARegistryThatIsNamedNeedsNoGoodCertificate(t *testing.T) {
	server := httptest.NewTLSServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	addr := strings.TrimPrefix(server.URL, "https://")
	t.Cleanup(registryhttp.Shared(nil).CloseIdleConnections)
	l, _, _ := newLayout(t, addr+"/one:1", addr+"/two:1")
	if _, err := l.Push(t.Context(), addr+"/one:1", PushOptions{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Push() = %v, want that the certificate is not known", err)
	}
	for _, image := range []string{"/one:1", "/two:1"} {
		if _, err := l.Push(t.Context(), addr+image, PushOptions{Insecure: []string{addr}}); err != nil {
			t.Errorf("Push() to a registry that is named = %v", err)
		}
	}
}

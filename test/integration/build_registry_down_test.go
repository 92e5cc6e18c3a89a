package integration_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/test/rig"
)

// ofImages reports whether a request is for an image that is pushed, not a cache.
func ofImages(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v2/team/") }

func answer(status int, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		http.Error(w, http.StatusText(status), status)
	}
}

func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// hungUp is what BuildKit says of [hangUp]. Behind it is "EOF", "connection reset by peer",
// "broken pipe" or "use of closed network connection": how far its request had come decides.
const hungUp = "failed to do request: P"

func TestARegistryThatFailsAPushIsNamedAndTheNextBuildPushes(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	for name, test := range map[string]struct {
		fails  func(*http.Request) bool
		how    func(http.ResponseWriter)
		said   string
		within time.Duration
	}{
		// BuildKit asks four times, with pauses of seven seconds together.
		"it answers 503":                        {ofImages, answer(http.StatusServiceUnavailable), "503 Service Unavailable", 30 * time.Second},
		"it has had enough of us":               {ofImages, answer(http.StatusTooManyRequests, "Retry-After", "1"), "429 Too Many Requests", 30 * time.Second},
		"it dies while it is sent a layer":      {func(r *http.Request) bool { return ofImages(r) && r.Method == http.MethodPut && isBlob(r) }, hangUp, hungUp, 30 * time.Second},
		"it dies while it is sent the manifest": {func(r *http.Request) bool { return ofImages(r) && isManifest(r) }, hangUp, hungUp, 30 * time.Second},
		"it lets nobody write":                  {func(r *http.Request) bool { return ofImages(r) && r.Method == http.MethodPost }, answer(http.StatusForbidden), "403 Forbidden", 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			empty := privateTemp(t)
			r := h.request(t, "main", buildcache.ModeSync)
			r.Context = writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nCOPY file /\nRUN cat /file > /other\n", "file": name})
			r.Secrets, r.Tags, r.Push = nil, []string{h.registry + "/team/shop:" + strings.ReplaceAll(name, " ", "-")}, true
			g.set(func(w http.ResponseWriter, r *http.Request) bool {
				if !test.fails(r) {
					return false
				}
				test.how(w)
				return true
			})
			start := time.Now()
			p, shown := when("never", func() {})
			_, err := h.Build(t.Context(), r, p)
			took := time.Since(start)
			if err == nil || !strings.Contains(err.Error(), h.registry+"/team/shop") || !strings.Contains(err.Error(), test.said) {
				t.Errorf("Build() = %v, want %q and the name of the image\n%s", err, test.said, shown)
			}
			if strings.Contains(shown.String(), "was lost") {
				t.Errorf("the node is taken for lost:\n%s", shown)
			}
			if len(hint.All(err)) != 1 {
				t.Errorf("hints = %q, want one", hint.All(err))
			}
			if _, ok := errors.AsType[*imagebuild.DockerfileError](err); ok {
				t.Errorf("Build() = %v, want no place in the Dockerfile blamed", err)
			}
			t.Logf("after %s: %v; %q", took.Round(time.Millisecond), err, hint.All(err))
			if took > test.within {
				t.Errorf("Build() took %s", took)
			}
			g.set(func(http.ResponseWriter, *http.Request) bool { return false })
			result, out := h.build(t, r)
			if result.Stats.Cached != result.Stats.Steps {
				t.Errorf("stats = %+v, want the steps of the build that could not push\n%s", result.Stats, out)
			}
			if digest, _ := pushed(t, r.Tags[0]); digest != result.Digest.String() {
				t.Errorf("the registry has %s, want %s", digest, result.Digest)
			}
			empty()
		})
	}
}

func TestAPushOutlivesAShortOutageOfItsRegistry(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	for name, how := range map[string]func(http.ResponseWriter){"503": answer(http.StatusServiceUnavailable), "broken connections": hangUp} {
		t.Run(name, func(t *testing.T) {
			var down atomic.Bool
			down.Store(true)
			var first atomic.Int32
			g.set(func(w http.ResponseWriter, r *http.Request) bool {
				if !ofImages(r) || !down.Load() {
					return false
				}
				if first.Add(1) == 1 {
					time.AfterFunc(2*time.Second, func() { down.Store(false) })
				}
				how(w)
				return true
			})
			r := h.request(t, "main", buildcache.ModeSync)
			r.Tags, r.Push = []string{h.registry + "/team/outage:1"}, true
			r.BuildArgs = map[string]string{"COLOR": name}
			result, _ := h.build(t, r)
			if digest, _ := pushed(t, r.Tags[0]); digest != result.Digest.String() || first.Load() == 0 {
				t.Errorf("the registry has %s after %d failures, want %s after some", digest, first.Load(), result.Digest)
			}
		})
	}
}

func TestARegistryWhereNobodyListensIsNamedByThePush(t *testing.T) {
	h := needBuildHost(t)
	empty := privateTemp(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN true\n"})
	start := time.Now()
	_, err := h.Build(t.Context(), imagebuild.Request{Context: dir, Tags: []string{"127.0.0.1:1/team/shop:1"}, Push: true}, imagebuild.Progress{})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1/team/shop:1") || !strings.Contains(err.Error(), "connection refused") || len(hint.All(err)) != 1 {
		t.Errorf("Build() = %v with hints %q, want the registry, the reason, and one hint", err, hint.All(err))
	}
	t.Logf("after %s: %v; %q", time.Since(start), err, hint.All(err))
	empty()
}

func TestABaseImageWhoseRegistryIsDownIsNamed(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM 127.0.0.1:1/team/base:1\nRUN true\n"})
	_, err := h.Build(t.Context(), imagebuild.Request{Context: dir}, imagebuild.Progress{})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1/team/base:1") || len(hint.All(err)) != 1 {
		t.Errorf("Build() = %v with hints %q, want the image and one hint", err, hint.All(err))
	}
	t.Logf("%v; %q", err, hint.All(err))
}

// A registry that gives errors, not broken connections, is down as well.
func TestACacheRegistryThatAnswersWithErrorsFailsNoBuild(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	empty := privateTemp(t)
	r := h.request(t, "main", buildcache.ModeSync)
	h.build(t, r)
	for name, fails := range map[string]func(*http.Request) bool{
		"at import": func(r *http.Request) bool {
			return r.Method != http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		},
		"when layers are fetched": func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
		},
		"at export of layers":      isBlob,
		"at the export's manifest": isManifest,
	} {
		t.Run(name, func(t *testing.T) {
			h.anew(t, imagebuild.Options{StateDir: h.state})
			h.empty(t)
			r := r
			r.BuildArgs = map[string]string{"COLOR": name} // something to export
			g.set(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/v2/cache/") && fails(r) {
					answer(http.StatusServiceUnavailable)(w)
					return true
				}
				return false
			})
			r.Cache.ExportTimeout = 10 * time.Second
			start := time.Now()
			result, shown := h.build(t, r)
			t.Logf("took %s; export %+v", time.Since(start), result.Export)
			if took := time.Since(start); took > 45*time.Second {
				t.Errorf("Build() took %s\n%s", took, shown)
			}
			if strings.HasPrefix(name, "at export") && (result.Export == nil || result.Export.Err == nil) {
				t.Errorf("export = %+v, want its failure\n%s", result.Export, shown)
			}
		})
	}
	empty()
}

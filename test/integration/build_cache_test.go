package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/test/rig"
)

// cacheHost is a builder with a cache registry behind a handler of the test.
type cacheHost struct {
	*buildHost
	caches string // address
	state  string // directory of what builds learn
}

func needCacheHost(t *testing.T, o rig.RegistryOptions) *cacheHost {
	t.Helper()
	images := rig.NeedImages(t)
	caches := rig.NeedRegistry(t, o)
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: images.Addr(), Insecure: []string{caches.Addr()}})
	setup := needBuilder(t, buildxsetup.Config{Hosts: daemon.Addr(), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	h := &cacheHost{buildHost: &buildHost{setup: setup, daemon: daemon, registry: caches.Addr()}, caches: caches.Addr(), state: t.TempDir()}
	h.anew(t, imagebuild.Options{StateDir: h.state})
	return h
}

// anew makes another Builder, as the next process would, and closes it at the end.
func (h *cacheHost) anew(t *testing.T, o imagebuild.Options) {
	t.Helper()
	b := imagebuild.New(h.setup, buildLog(t), o)
	h.Builder = b
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("closing the builder: %v", err)
		}
	})
}

// request is a build whose cache goes to the scope of a branch.
func (h *cacheHost) request(t *testing.T, branch string, mode buildcache.Mode) imagebuild.Request {
	t.Helper()
	return imagebuild.Request{
		Context: shop(t), Secrets: []imagebuild.Secret{token()},
		Cache: buildcache.Policy{Repo: h.caches + "/cache", Name: "shop", Branch: branch, Mode: mode, ExportTimeout: 30 * time.Second},
	}
}

// gate is a handler before a registry that the test opens and closes.
type gate struct {
	next   http.Handler
	refuse atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // answers itself and returns true
}

func (g *gate) wrap(next http.Handler) http.Handler {
	g.next = next
	return g
}

func (g *gate) set(f func(http.ResponseWriter, *http.Request) bool) { g.refuse.Store(&f) }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f := g.refuse.Load(); f != nil && (*f)(w, r) {
		return
	}
	g.next.ServeHTTP(w, r)
}

func isManifest(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
}

func isBlob(r *http.Request) bool {
	return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
}

// refuseForm refuses manifests as registries do that do not know what is in them.
func refuseForm(refused func(contentType, body string) bool, status int, code string, count *atomic.Int32) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r) {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return false
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if !refused(r.Header.Get("Content-Type"), string(body)) {
			return false
		}
		if !strings.Contains(r.URL.Path, "/manifests/record.") { // the record of a build goes there too, in one form only
			count.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"manifest invalid","detail":{}}]}`, code)
		return true
	}
}

func TestARegistryIsGivenTheFormItTakesAndAskedOnce(t *testing.T) {
	zstd := func(_, body string) bool { return strings.Contains(body, "zstd") }
	for name, test := range map[string]struct {
		refused func(contentType, body string) bool
		status  int
		code    string
		form    buildcache.Form
		refusal int32
	}{
		"that knows no zstd":          {zstd, http.StatusBadRequest, "MANIFEST_INVALID", buildcache.FormGzip, 1},
		"that knows no OCI manifests": {func(kind, _ string) bool { return strings.Contains(kind, "oci") }, http.StatusUnsupportedMediaType, "UNSUPPORTED", buildcache.FormDocker, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var g gate
			var refusals atomic.Int32
			h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
			g.set(refuseForm(test.refused, test.status, test.code, &refusals))
			// The first export waits for the answer whatever the mode is.
			first, shown := h.build(t, h.request(t, "main", buildcache.ModeAsync))
			if e := first.Export; e == nil || e.Err != nil || e.Background || e.Form != test.form {
				t.Fatalf("export = %+v, want one as %s\n%s", e, test.form, shown)
			}
			if n := refusals.Load(); n != test.refusal {
				t.Errorf("%d refusals, want %d", n, test.refusal)
			}
			h.anew(t, imagebuild.Options{StateDir: h.state})
			second, _ := h.build(t, h.request(t, "other", buildcache.ModeSync))
			if e := second.Export; e == nil || e.Err != nil || e.Form != test.form || refusals.Load() != test.refusal {
				t.Errorf("export of the next process = %+v with %d refusals, want none more", e, refusals.Load()-test.refusal)
			}
			h.empty(t)
			again, shown := h.build(t, h.request(t, "main", buildcache.ModeOff))
			if again.Stats.Cached != again.Stats.Steps || again.Export != nil {
				t.Errorf("stats = %+v, export = %+v, want all steps from a cache and nothing written\n%s", again.Stats, again.Export, shown)
			}
		})
	}
}

func TestABuildNeedsItsFilesNoMoreWhenItsExportGoesOn(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	h.build(t, h.request(t, "first", buildcache.ModeSync)) // the registry is known from here on
	exported := make(chan imagebuild.Event, 1)
	h.anew(t, imagebuild.Options{StateDir: h.state, Observe: func(e imagebuild.Event) {
		if e.Export != nil {
			exported <- e
		}
	}})
	slow := make(chan struct{})
	opened := sync.OnceFunc(func() { close(slow) })
	t.Cleanup(opened)
	g.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) {
			<-slow
		}
		return false
	})
	r := h.request(t, "main", buildcache.ModeAsync)
	if err := os.WriteFile(filepath.Join(r.Context, "main.txt"), []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	result, shown := h.build(t, r)
	if result.Export == nil || !result.Export.Background || result.Export.Err != nil {
		t.Fatalf("export = %+v, want one that goes on\n%s", result.Export, shown)
	}
	if !strings.Contains(shown, "goes on behind the build") {
		t.Errorf("the build does not say that its export goes on:\n%s", shown)
	}
	if err := os.RemoveAll(r.Context); err != nil {
		t.Fatal(err)
	}
	opened()
	if err := h.Close(t.Context()); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if e := <-exported; e.Err != nil || e.Export.Ref != h.caches+"/cache/shop:main" || e.Took <= 0 {
		t.Errorf("the export ended as %+v, want it done", e)
	}
	h.anew(t, imagebuild.Options{})
	h.empty(t)
	r = h.request(t, "main", buildcache.ModeOff)
	if err := os.WriteFile(filepath.Join(r.Context, "main.txt"), []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, shown := h.build(t, r); again.Stats.Cached != again.Stats.Steps {
		t.Errorf("stats = %+v, want all from the cache\n%s", again.Stats, shown)
	}
}

func TestClosingABuilderCutsItsExportsWhenItMust(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	h.build(t, h.request(t, "first", buildcache.ModeSync))
	b := imagebuild.New(h.setup, buildLog(t), imagebuild.Options{StateDir: h.state})
	h.Builder = b
	over := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(over) }))
	g.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) || isManifest(r) {
			select {
			case <-over:
			case <-r.Context().Done():
			}
		}
		return false
	})
	result, shown := h.build(t, h.request(t, "main", buildcache.ModeAsync))
	if result.Export == nil || !result.Export.Background {
		t.Fatalf("export = %+v, want one that goes on\n%s", result.Export, shown)
	}
	why := errors.New("the pod goes away")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, why)
	defer cancel()
	begun := time.Now()
	if err := b.Close(ctx); !errors.Is(err, why) || !strings.Contains(err.Error(), "shop:main") {
		t.Errorf("Close() = %v, want it to name the export and %v", err, why)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("Close() took %s", took)
	}
}

func TestExportsToARegistryQueue(t *testing.T) {
	const most = 3
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	h.build(t, h.request(t, "first", buildcache.ModeSync))
	// An export is in progress from its first request for its repository on until
	// its manifest is there.
	var mu sync.Mutex
	going, peak := make(map[string]bool), 0
	g.set(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.UserAgent(), "go-containerregistry") {
			return false // the record of a build, which is no export and has no queue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/cache/"), "/")
		switch {
		case isManifest(r):
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			delete(going, name)
			mu.Unlock()
		case isBlob(r):
			mu.Lock()
			going[name] = true
			peak = max(peak, len(going))
			mu.Unlock()
			time.Sleep(20 * time.Millisecond)
		}
		return false
	})
	var builds sync.WaitGroup
	for i := range 10 {
		r := h.request(t, "main", buildcache.ModeAsync)
		r.Cache.Name = fmt.Sprintf("shop%d", i)
		b := h.Builder
		if i%2 == 1 { // half of them in another process
			b = imagebuild.New(h.setup, buildLog(t), imagebuild.Options{StateDir: h.state})
		}
		builds.Go(func() {
			result, err := b.Build(t.Context(), r, imagebuild.Progress{})
			if err != nil || result.Export == nil || result.Export.Err != nil {
				t.Errorf("build %d = %+v, %v", i, result, err)
			}
			if b != h.Builder {
				if err := b.Close(t.Context()); err != nil {
					t.Errorf("closing the builder of build %d: %v", i, err)
				}
			}
		})
	}
	builds.Wait()
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if peak == 0 || peak > most {
		t.Errorf("%d exports went on at a time, want at most %d and some", peak, most)
	}
	if len(going) != 0 {
		t.Errorf("exports %v did not end", going)
	}
}

func TestARegistryThatDiesInTheMiddleOfAnExportFailsNoBuild(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	var requests atomic.Int32
	g.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) && requests.Add(1) > 3 || isManifest(r) {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		return false
	})
	r := h.request(t, "main", buildcache.ModeSync)
	r.Cache.ExportTimeout = 6 * time.Second
	result, shown := h.build(t, r)
	if result.Export == nil || result.Export.Err == nil || result.Export.Duration > 20*time.Second {
		t.Errorf("export = %+v, want its failure within its bound\n%s", result.Export, shown)
	}
	t.Logf("said: %v", result.Export.Err)
}

func TestCredentialsThatExpireInTheMiddleOfAnExportAreAskedForAgain(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	config := t.TempDir()
	text := fmt.Sprintf(`{"auths":{%q:{"username":"me","password":"secret"}}}`, h.caches)
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	auth, err := registryauth.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]func(*http.Request) bool{
		"while it looks for layers": func(r *http.Request) bool { return r.Method == http.MethodHead && isBlob(r) },
		"before it sends a layer":   func(r *http.Request) bool { return r.Method == http.MethodPost && isBlob(r) },
		"while it sends a layer":    func(r *http.Request) bool { return r.Method == http.MethodPut && isBlob(r) },
		"before the manifest":       isManifest,
	} {
		t.Run(name, func(t *testing.T) {
			var issued, expired atomic.Int32
			g.set(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/token" {
					if user, password, ok := r.BasicAuth(); ok && (user != "me" || password != "secret") {
						w.WriteHeader(http.StatusUnauthorized)
						return true
					}
					w.Header().Set("Content-Type", "application/json")
					_, _ = fmt.Fprintf(w, `{"token":"%[1]s-%[2]d","access_token":"%[1]s-%[2]d","expires_in":60}`, t.Name(), issued.Load())
					return true
				}
				challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="rig",scope="repository:cache/shop:pull,push"`, r.Host)
				switch r.Header.Get("Authorization") {
				case fmt.Sprintf("Bearer %s-%d", t.Name(), issued.Load()):
					if !at(r) || !expired.CompareAndSwap(0, 1) {
						return false
					}
					issued.Add(1) // this one, and what was issued before, is expired
					challenge += `,error="invalid_token"`
				case "":
				default:
					challenge += `,error="invalid_token"`
				}
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			})
			r := h.request(t, "main", buildcache.ModeSync)
			if err := os.WriteFile(filepath.Join(r.Context, "main.txt"), []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
			r.Auth = auth
			result, shown := h.build(t, r)
			if result.Export == nil || result.Export.Err != nil || expired.Load() == 0 {
				t.Errorf("export = %+v, want it done, and a token to expire: %d\n%s", result.Export, expired.Load(), shown)
			}
		})
	}
}

func TestAnExportIsSkippedAfterThreeThatSparedNothing(t *testing.T) {
	h := needCacheHost(t, rig.RegistryOptions{})
	var last *imagebuild.Result
	for i := range 4 {
		r := h.request(t, "main", buildcache.ModeAuto)
		// No later step runs for longer than the first build's: that would be worth an export.
		r.Context = writeTree(t, map[string]string{
			"Dockerfile": "FROM busybox\nCOPY file /\nRUN if [ $(cat /file) = 0 ]; then sleep 2; fi\n",
			"file":       fmt.Sprint(i),
		})
		r.Secrets = nil
		last, _ = h.build(t, r)
		if i < 3 && (last.Export == nil || last.Export.Skipped != "" || last.Export.Err != nil) {
			t.Fatalf("export %d = %+v, want one", i, last.Export)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.anew(t, imagebuild.Options{StateDir: h.state})
	}
	if !strings.HasPrefix(last.Export.Skipped, "the last 3 exports took ") || !strings.HasSuffix(last.Export.Skipped, " and spared 0 s") {
		t.Errorf("export = %+v, want it skipped with the figures", last.Export)
	}
}

func TestCacheMountsAreSaidToStayOnTheBuilder(t *testing.T) {
	h := needCacheHost(t, rig.RegistryOptions{})
	r := h.request(t, "main", buildcache.ModeSync)
	r.Context = writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nARG where=/c\nRUN --mount=type=cache,target=${where} \\\n  touch /c/x\nRUN true\n"})
	r.Secrets = nil
	result, shown := h.build(t, r)
	if notes := strings.Join(result.Notes(), "\n"); !strings.Contains(notes, "1 step uses cache mounts, which stay on the builder") {
		t.Errorf("notes = %q, want one on cache mounts\n%s", notes, shown)
	}
	if result.Export.Bytes != 0 {
		t.Logf("BuildKit tells of %d bytes now", result.Export.Bytes)
	}
}

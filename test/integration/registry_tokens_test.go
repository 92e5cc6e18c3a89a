package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/imagelayout"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/test/rig"
)

// tokenLife is how long a bearer token of a [tokenDesk] lives. Clients are told
// whole seconds, so it is the shortest there is.
const tokenLife = time.Second

// tokenDesk asks for bearer tokens before a registry, which it gives to whoever
// has the password.
type tokenDesk struct {
	user, password string

	mu      sync.Mutex
	slow    int                  // uploads to come that are held up for the life of a token
	issued  map[string]time.Time // token → end
	late    int                  // requests with a token that had ended
	refused int                  // requests for a token with another password
}

func (d *tokenDesk) wrap(next http.Handler) http.Handler {
	d.issued = make(map[string]time.Time)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			d.issue(w, r)
			return
		}
		token, given := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		d.mu.Lock()
		good := time.Now().Before(d.issued[token])
		if given && !good {
			d.late++
		}
		d.mu.Unlock()
		if good {
			d.holdUp(r)
			next.ServeHTTP(w, r)
			return
		}
		challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="rig"`, r.Host)
		if repository, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/"); ok {
			challenge += `,scope="repository:` + repository + `:pull,push"`
		} else if repository, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/"); ok {
			challenge += `,scope="repository:` + repository + `:pull,push"`
		}
		if given {
			challenge += `,error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintln(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	})
}

// holdUp lets the token of an upload end while the upload begins.
func (d *tokenDesk) holdUp(r *http.Request) {
	d.mu.Lock()
	slow := r.Method == http.MethodPost && d.slow > 0
	if slow {
		d.slow--
	}
	d.mu.Unlock()
	if slow {
		time.Sleep(tokenLife)
	}
}

func (d *tokenDesk) issue(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	if !ok {
		user, password = r.PostFormValue("username"), r.PostFormValue("password")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if user != d.user || password != d.password {
		d.refused++
		http.Error(w, "{}", http.StatusUnauthorized)
		return
	}
	token := uuid.NewString()
	d.issued[token] = time.Now().Add(tokenLife)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "access_token": token, "expires_in": int(tokenLife / time.Second), "issued_at": time.Now().UTC().Format(time.RFC3339),
	})
}

func (d *tokenDesk) count() (issued, late, refused int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.issued), d.late, d.refused
}

// needTokenHost is a builder beside a registry that wants tokens, and the login
// for it.
func needTokenHost(t *testing.T, d *tokenDesk) (*buildHost, *registryauth.Auth) {
	t.Helper()
	d.user, d.password = "me", "secret"
	images := rig.NeedImages(t)
	registry := rig.NeedRegistry(t, rig.RegistryOptions{Wrap: d.wrap})
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: images.Addr(), Insecure: []string{registry.Addr()}})
	setup := needBuilder(t, buildxsetup.Config{Hosts: daemon.Addr(), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	login := writeTree(t, map[string]string{"config.json": `{"auths":{"` + registry.Addr() + `":{"auth":"bWU6c2VjcmV0"}}}`})
	auth, err := registryauth.Load(login)
	if err != nil {
		t.Fatal(err)
	}
	h := &buildHost{Builder: imagebuild.New(setup, buildLog(t), imagebuild.Options{}), setup: setup, daemon: daemon, registry: registry.Addr()}
	h.closeWith(t)
	return h, auth
}

func TestABuildOutlivesTheTokensOfItsRegistry(t *testing.T) {
	d := &tokenDesk{}
	h, auth := needTokenHost(t, d)
	dir := writeTree(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY seed /\nRUN sleep 2.5; cat /seed > /out\nRUN sleep 1.5; echo more > /more\n", "seed": "one\n",
	})
	r := imagebuild.Request{
		Context: dir, Tags: []string{h.registry + "/team/slow:1"}, Push: true, Auth: auth,
		Cache: buildcache.Policy{Repo: h.registry + "/cache", Branch: "main"},
	}
	for _, seed := range []string{"one\n", "two\n"} { // the second one finds the cache of the first
		if err := os.WriteFile(filepath.Join(dir, "seed"), []byte(seed), 0o600); err != nil {
			t.Fatal(err)
		}
		h.empty(t)
		before, _, _ := d.count()
		result, shown := h.build(t, r)
		if result.Export == nil || result.Export.Err != nil {
			t.Errorf("the cache was not exported: %+v\n%s", result.Export, shown)
		}
		if issued, _, refused := d.count(); issued-before < 2 || refused != 0 {
			t.Errorf("the build got %d tokens, and %d were refused; want several and none", issued-before, refused)
		}
	}
}

func TestAPushOutlivesTheTokensOfItsRegistry(t *testing.T) {
	d := &tokenDesk{}
	h, auth := needTokenHost(t, d)
	l := imagelayout.Layout{Dir: t.TempDir()}
	image := h.registry + "/team/kept:1"
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN head -c 3000000 /dev/urandom > /a\nRUN head -c 3000000 /dev/urandom > /b\n"})
	h.build(t, imagebuild.Request{Context: dir, Tags: []string{image}, Layout: l.Dir, Auth: auth})
	d.mu.Lock()
	d.slow = 3
	d.mu.Unlock()
	digest, err := l.Push(t.Context(), image, imagelayout.PushOptions{Auth: auth})
	if _, late, _ := d.count(); err != nil || digest == "" || late == 0 {
		t.Errorf("Push() = %s, %v, with %d late requests", digest, err, late)
	}
}

func TestALoginThatEndsInTheMiddleOfABuildIsSaidSo(t *testing.T) {
	d := &tokenDesk{}
	h, auth := needTokenHost(t, d)
	change := func(password string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.password = password
		clear(d.issued)
	}
	r := imagebuild.Request{
		Context: sleepy(t), Secrets: []imagebuild.Secret{token()}, Tags: []string{h.registry + "/team/sleepy:1"}, Push: true, Auth: auth,
		Cache: buildcache.Policy{Repo: h.registry + "/cache", Branch: "main"},
	}
	p, shown := when("now sleeping", func() { change("another") })
	_, err := h.Build(t.Context(), r, p)
	if err == nil || !strings.Contains(err.Error(), h.registry) || len(hint.All(err)) != 1 || !strings.Contains(hint.All(err)[0], "docker login") {
		t.Errorf("Build() = %v with hints %q, want the registry and how to log in\n%s", err, hint.All(err), shown)
	}
	change("secret")
	result, out := h.build(t, r)
	if result.Stats.Cached != result.Stats.Steps || result.Export == nil || result.Export.Err != nil {
		t.Errorf("stats = %+v, export = %+v, want the steps of the first build, and a cache\n%s", result.Stats, result.Export, out)
	}
}

package integration_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

// imagesBehind serves the base images with a handler before them.
func imagesBehind(t *testing.T, opts rig.RegistryOptions) *rig.Registry {
	t.Helper()
	dir, err := rig.ImagesDir()
	if err != nil {
		t.Fatal(err)
	}
	opts.Dir, opts.ReadOnly = filepath.Join(dir, "store"), true
	return rig.NeedRegistry(t, opts)
}

// clientOf starts a Podman and connects to it.
func clientOf(t *testing.T, opts rig.PodmanOptions) *podmanrun.Client {
	t.Helper()
	return connectTo(t, rig.NeedPodman(t, opts))
}

// connectTo connects to a Podman.
func connectTo(t *testing.T, engine *rig.Podman) *podmanrun.Client {
	t.Helper()
	client, err := podmanrun.Open(t.Context(), podmanrun.Config{Host: engine.Addr(), Program: "podman", ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return client
}

// oneService is a project of one container that ends by itself.
func oneService(t *testing.T, image string) *podmanrun.Project {
	t.Helper()
	return loadStack(t, "name: pulled\nservices:\n  a: {image: \""+image+"\", command: \"true\"}\n")
}

// refuse answers the first n requests for what matches with a status, the way a
// registry does.
func refuse(n int32, status int, body string, matches func(*http.Request) bool) (wrap func(http.Handler) http.Handler, refused *atomic.Int32) {
	refused = &atomic.Int32{}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if matches(r) && refused.Add(1) <= n {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body)) // the test fails by what Podman makes of it
				return
			}
			next.ServeHTTP(w, r)
		})
	}, refused
}

func manifests(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }

func TestAPullWaitsForARegistryThatIsBusyOrBroken(t *testing.T) {
	// Podman 5 asks twice before it gives up.
	wrap, refused := refuse(2, http.StatusServiceUnavailable, `{"errors":[{"code":"UNAVAILABLE","message":"later"}]}`, manifests)
	registry := imagesBehind(t, rig.RegistryOptions{Wrap: wrap})
	client := clientOf(t, rig.PodmanOptions{Insecure: []string{registry.Addr()}})
	var told []string
	_, err := client.Up(t.Context(), oneService(t, registry.Addr()+"/library/busybox:latest"), podmanrun.UpOptions{
		Owner: stackOwner(t), WaitTimeout: 2 * time.Minute,
		Progress: func(e podmanrun.Event) {
			if e.Kind == podmanrun.EventPulling && strings.Contains(e.Text, "trying again in") {
				told = append(told, e.Text)
			}
		},
	})
	if err != nil || refused.Load() < 2 || len(told) == 0 || !strings.Contains(told[0], registry.Addr()+" failed (") {
		t.Errorf("Up = %v after %d refusals; told: %q", err, refused.Load(), told)
	}
	if err := client.Down(t.Context(), "pulled", podmanrun.DownOptions{}); err != nil {
		t.Error(err)
	}
	wantNoStackLeft(t, client)
}

func TestARefusalOfARegistryIsToldForWhatItIs(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		kind   podmanrun.FailureKind
		want   string
		most   int32 // requests for the manifest
	}{
		"not there": {http.StatusNotFound, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, podmanrun.FailureImageMissing, "does not have the image", 3},
		"not allowed": {
			http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`,
			podmanrun.FailureImageDenied, "lets nobody have the image with these credentials", 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wrap, refused := refuse(1<<30, c.status, c.body, manifests)
			registry := imagesBehind(t, rig.RegistryOptions{Wrap: wrap})
			client := clientOf(t, rig.PodmanOptions{Insecure: []string{registry.Addr()}})
			_, err := client.Up(t.Context(), oneService(t, registry.Addr()+"/library/busybox:latest"), podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
			failed, ok := errors.AsType[*podmanrun.ServiceError](err)
			if !ok || failed.Kind != c.kind || !strings.Contains(err.Error(), registry.Addr()+" "+c.want) {
				t.Errorf("Up = %v, want %s and %q", err, c.kind, c.want)
			}
			if got := refused.Load(); got > c.most {
				t.Errorf("the registry was asked %d times, want at most %d", got, c.most)
			}
		})
	}
}

func TestAMirrorAndItsRegistryStandInForEachOther(t *testing.T) {
	const nobody = "127.0.0.1:1"
	up := imagesBehind(t, rig.RegistryOptions{})
	for name, c := range map[string]struct{ origin, mirror string }{
		"the mirror is down":   {up.Addr(), nobody},
		"the registry is down": {nobody, up.Addr()},
	} {
		t.Run(name, func(t *testing.T) {
			client := clientOf(t, rig.PodmanOptions{Mirrors: map[string]string{c.origin: c.mirror}})
			_, err := client.Up(t.Context(), oneService(t, c.origin+"/library/busybox:latest"), podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
			if err != nil {
				t.Errorf("Up = %v", err)
			}
		})
	}
	t.Run("both are down", func(t *testing.T) {
		client := clientOf(t, rig.PodmanOptions{Mirrors: map[string]string{"127.0.0.1:2": nobody}})
		_, err := client.Up(t.Context(), oneService(t, "127.0.0.1:2/x:1"), podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute})
		want := []string{"127.0.0.1:2 cannot be reached (", "; mirror " + nobody + " cannot be reached ("}
		for _, part := range want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("Up = %v, want %q", err, part)
			}
		}
	})
}

func TestAPullUsesTheCredentialsOfItsCallerAndAsksOnceForEachImage(t *testing.T) {
	var mu sync.Mutex
	pulls := make(map[string]int)
	registry := imagesBehind(t, rig.RegistryOptions{User: "ci", Password: "secret", Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, known := r.BasicAuth(); known && strings.HasSuffix(r.URL.Path, "/manifests/latest") {
				mu.Lock()
				pulls[r.URL.Path]++
				mu.Unlock()
			}
			next.ServeHTTP(w, r)
		})
	}})
	client := clientOf(t, rig.PodmanOptions{Insecure: []string{registry.Addr()}})
	var text strings.Builder
	text.WriteString("name: pulled\nservices:\n")
	for name := range strings.FieldsSeq("a b c d e f g h i j") {
		text.WriteString("  " + name + ": {image: \"" + registry.Addr() + "/library/busybox:latest\", command: \"true\"}\n")
	}
	project := loadStack(t, text.String())
	var asked []string
	for _, c := range []struct { // the pull that is refused first: what is there is not pulled again
		user string
		kind podmanrun.FailureKind
	}{{"", podmanrun.FailureImageDenied}, {"ci", ""}} {
		user, kind := c.user, c.kind
		asked = nil
		_, err := client.Up(t.Context(), project, podmanrun.UpOptions{
			Owner: stackOwner(t), WaitTimeout: time.Minute,
			Credentials: func(_ context.Context, registry string) (string, string, string, error) {
				asked = append(asked, registry)
				return user, "secret", "", nil
			},
		})
		failed, refused := errors.AsType[*podmanrun.ServiceError](err)
		if refused != (kind != "") || refused && failed.Kind != kind {
			t.Errorf("Up as %q = %v, want %q", user, err, kind)
		}
		if len(asked) != 1 || asked[0] != registry.Addr() {
			t.Errorf("the credentials were asked for %q, want %s once", asked, registry.Addr())
		}
	}
	for path, n := range pulls {
		if n > 2 { // Podman asks for a list twice
			t.Errorf("%s was asked for %d times by ten services of one image", path, n)
		}
	}
	if err := client.Down(t.Context(), "pulled", podmanrun.DownOptions{}); err != nil {
		t.Error(err)
	}
	wantNoStackLeft(t, client)
}

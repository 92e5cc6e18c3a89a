package dockerapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/dockerapi"
	"github.com/dockless-ci/dockless/podmanrun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	mine   = podmanrun.Owner{Agent: "agent", Job: "mine"}
	theirs = podmanrun.Owner{Agent: "agent", Job: "theirs"}
)

// upstream is a Podman service as far as the proxy looks at it: things with
// labels, and whatever else a test handles.
type upstream struct {
	mux     *http.ServeMux
	version string // of Podman

	mu     sync.Mutex
	things map[string]map[string]map[string]string // kind → name → labels
	asked  []string                                // METHOD path?query of the client's requests, as they arrived
	bodies map[string]string                       // by METHOD path, the last one
}

// id is the id of a thing of a name.
func id(name string) string {
	return strings.Repeat("0", 64-len(name)) + name
}

func newUpstream() *upstream {
	u := &upstream{mux: http.NewServeMux(), version: "5.8.3", bodies: make(map[string]string), things: map[string]map[string]map[string]string{
		"containers": {"web": mine.Labels(), "other": theirs.Labels(), "operators": {}},
		"networks":   {"front": mine.Labels(), "back": theirs.Labels(), "podman": {}},
		"volumes":    {"data": mine.Labels(), "precious": theirs.Labels(), "cache": {}},
		"pods":       {"together": mine.Labels(), "apart": theirs.Labels()},
	}}
	u.mux.HandleFunc("GET /v4.0.0/libpod/{kind}/{name}/json", u.inspect)
	u.mux.HandleFunc("GET /v4.0.0/libpod/{kind}/json", u.list)
	u.mux.HandleFunc("GET /v4.0.0/libpod/exec/{id}/json", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]string{"ContainerID": id(strings.TrimPrefix(r.PathValue("id"), "in-"))})
	})
	return u
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // a client that is gone needs no answer
}

func (u *upstream) inspect(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	name := strings.TrimLeft(r.PathValue("name"), "0")
	labels, ok := u.things[r.PathValue("kind")][name]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		reply(w, map[string]string{"message": "no such thing"})
		return
	}
	answer := map[string]any{"Id": id(name), "Name": name, "Labels": labels}
	if r.PathValue("kind") == "containers" {
		answer["Config"] = map[string]any{"Labels": labels}
	}
	reply(w, answer)
}

// list answers without looking at filters, as a Podman might that does not know
// one.
func (u *upstream) list(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(u.things[r.PathValue("kind")])) {
		list = append(list, map[string]any{"Id": id(name), "Name": name, "Labels": u.things[r.PathValue("kind")][name], "ImageID": "i1", "Status": "Up 2 minutes"})
	}
	reply(w, list)
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Libpod-API-Version", u.version)
	own := strings.HasPrefix(r.URL.Path, "/v4.0.0/") // the proxy's own questions
	if !own {
		u.mu.Lock()
		u.asked = append(u.asked, r.Method+" "+r.URL.RequestURI())
		u.mu.Unlock()
	}
	if _, pattern := u.mux.Handler(r); pattern != "" {
		u.mux.ServeHTTP(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body) // what a test looks at
	u.mu.Lock()
	u.bodies[r.Method+" "+r.URL.Path] = string(body)
	u.mu.Unlock()
	reply(w, map[string]string{"Id": id("made")})
}

func (u *upstream) body(t *testing.T, request string) map[string]any {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	var o map[string]any
	if err := json.Unmarshal([]byte(u.bodies[request]), &o); err != nil {
		t.Fatalf("body of %s = %q: %v", request, u.bodies[request], err)
	}
	return o
}

func (u *upstream) requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

// client speaks to the API of a job.
type client struct {
	http   *http.Client
	socket string
	server *dockerapi.Server
}

// open starts the API of the job mine before u.
func open(t *testing.T, u *upstream, insecure ...string) *client {
	t.Helper()
	podman := httptest.NewServer(u)
	t.Cleanup(podman.Close)
	p, err := podmanrun.Open(t.Context(), podmanrun.Config{Host: "tcp://" + podman.Listener.Addr().String(), ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() }) // it holds connections only
	socket := filepath.Join(t.TempDir(), "d.sock")
	s, err := dockerapi.Open(t.Context(), socket, p, dockerapi.Config{Owner: mine, Insecure: insecure}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close = %v", err)
		}
	})
	u.mu.Lock()
	u.asked = nil
	u.mu.Unlock()
	return &client{http: &http.Client{Transport: transport}, socket: socket, server: s}
}

// do sends a request and returns status and body.
func (c *client) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://d"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(data)
}

// filtered writes a query of filters.
func filtered(format string, args ...any) string {
	return "?filters=" + url.QueryEscape(fmt.Sprintf(format, args...))
}

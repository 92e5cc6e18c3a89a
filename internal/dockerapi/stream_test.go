package dockerapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/dockerapi"
	"github.com/dockless-ci/dockless/podmanrun"
)

// hijack answers 101 and gives the raw connection to f.
func hijack(w http.ResponseWriter, f func(net.Conn, *bufio.Reader)) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }() // the other side is done with it
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	f(conn, rw.Reader)
}

// dial opens a raw connection by a request.
func (c *client) dial(t *testing.T, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n", path)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil) //nolint:bodyclose // the connection is its body
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("POST %s = %+v, %v, want 101", path, resp, err)
	}
	return conn, r
}

func TestARawConnectionEndsInOneDirectionAtATime(t *testing.T) {
	u := newUpstream()
	u.mux.HandleFunc("POST /v1.41/containers/{id}/attach", func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, func(conn net.Conn, r *bufio.Reader) {
			all, _ := io.ReadAll(r) // ends when the client has said all
			_, _ = fmt.Fprintf(conn, "got %s", all)
		})
	})
	c := open(t, u)
	conn, r := c.dial(t, "/v1.41/containers/web/attach?stdin=1&stream=1")
	if _, err := io.WriteString(conn, "typed"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(r); err != nil || string(answer) != "got typed" {
		t.Errorf("answer after the end of what was typed = %q, %v, want got typed", answer, err)
	}
}

func TestAStreamArrivesAsItIsWritten(t *testing.T) {
	u := newUpstream()
	next := make(chan struct{})
	u.mux.HandleFunc("GET /v1.41/containers/{id}/logs", func(w http.ResponseWriter, r *http.Request) {
		for range 2 {
			_, _ = io.WriteString(w, "line\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
			}
		}
	})
	// Progress while the request is still being sent, as of docker load.
	u.mux.HandleFunc("POST /v1.41/images/load", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = fmt.Fprintln(w, "read", lines.Text())
			_ = http.NewResponseController(w).Flush()
		}
	})
	c := open(t, u)
	resp, err := c.http.Get("http://d/v1.41/containers/web/logs?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	logs := resp.Body
	defer func() { _ = logs.Close() }() // it is read to its end
	lines := bufio.NewReader(logs)
	for range 2 {
		if line, err := lines.ReadString('\n'); err != nil || line != "line\n" {
			t.Fatalf("line = %q, %v", line, err)
		}
		next <- struct{}{}
	}
	body, write := io.Pipe()
	answers := make(chan *http.Response, 1)
	go func() {
		resp, err := c.http.Post("http://d/v1.41/images/load", "application/x-tar", body) //nolint:bodyclose // closed below
		if err == nil {
			answers <- resp
		}
		close(answers)
	}()
	_, _ = io.WriteString(write, "one\n")
	resp, ok := <-answers
	if !ok {
		t.Fatal("the load failed")
	}
	defer func() { _ = resp.Body.Close() }() // as above
	lines = bufio.NewReader(resp.Body)
	for _, word := range []string{"one", "two"} {
		if word == "two" {
			_, _ = io.WriteString(write, "two\n")
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "read "+word+"\n" {
			t.Errorf("progress = %q, %v, want read %s before the end of the request", line, err, word)
		}
	}
	_ = write.Close() // a pipe's close does not fail
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Error(err)
	}
}

func TestTheEndOfTheJobEndsStreamsAndRawConnections(t *testing.T) {
	u := newUpstream()
	u.mux.HandleFunc("POST /v1.41/containers/{id}/attach", func(w http.ResponseWriter, _ *http.Request) {
		hijack(w, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	})
	u.mux.HandleFunc("GET /v1.41/events", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := open(t, u)
	_, raw := c.dial(t, "/v1.41/containers/web/attach")
	resp, err := c.http.Get("http://d/v1.41/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it has ended
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.server.Close(ctx); err != nil {
		t.Fatalf("Close = %v", err)
	}
	for what, r := range map[string]io.Reader{"raw connection": raw, "stream of events": resp.Body} {
		if n, err := io.Copy(io.Discard, r); n != 0 || err != nil && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the %s goes on after the end: %d bytes, %v", what, n, err)
		}
	}
	if _, err := os.Stat(c.socket); err == nil {
		t.Error("the socket is still there")
	}
}

func TestWhatIsBeingCreatedIsWaitedForAtTheEnd(t *testing.T) {
	u := newUpstream()
	began, goOn := make(chan struct{}), make(chan struct{})
	var made atomic.Bool
	u.mux.HandleFunc("POST /v1.41/containers/create", func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-goOn
		made.Store(r.Context().Err() == nil)
		reply(w, map[string]string{"Id": id("made")})
	})
	c := open(t, u)
	ctx, giveUp := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://d/v1.41/containers/create", strings.NewReader("{}"))
		if err != nil {
			return
		}
		if resp, err := c.http.Do(req); err == nil {
			_ = resp.Body.Close() // nobody wants it
		}
	}()
	<-began
	giveUp()
	<-gone
	closed := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		closed <- c.server.Close(ctx)
	}()
	select {
	case err := <-closed:
		t.Fatalf("Close = %v before the container was made", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(goOn)
	if err := <-closed; err != nil || !made.Load() {
		t.Errorf("Close = %v and made = %t, want the container made although its client had gone", err, made.Load())
	}
}

// healthcheck plays a container with a healthcheck whose result the test sets.
type healthcheck struct {
	passes, gone atomic.Bool
	fails        atomic.Int32 // how many questions get no answer
}

func (h *healthcheck) serve(u *upstream) {
	container := func(w http.ResponseWriter, _ *http.Request) {
		if h.gone.Load() {
			w.WriteHeader(http.StatusNotFound)
			reply(w, map[string]string{"message": "no such container"})
			return
		}
		reply(w, map[string]any{
			"Id": id("web"), "Name": "web", "ImageName": "nginx", "State": map[string]any{"Running": true, "Health": map[string]any{"Status": "starting", "FailingStreak": 7}},
			"Config": map[string]any{"Labels": mine.Labels(), "Healthcheck": map[string]any{"Test": []string{"CMD", "true"}, "Interval": 20 * time.Millisecond, "Retries": 2}},
		})
	}
	u.mux.HandleFunc("GET /v4.0.0/libpod/containers/{name}/json", container)
	u.mux.HandleFunc("GET /v1.41/containers/{name}/json", container)
	u.mux.HandleFunc("GET /v4.0.0/libpod/containers/{name}/healthcheck", func(w http.ResponseWriter, _ *http.Request) {
		if h.fails.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		status := "unhealthy"
		if h.passes.Load() {
			status = "healthy"
		}
		reply(w, map[string]string{"Status": status})
	})
	u.mux.HandleFunc("GET /v4.0.0/libpod/pods/{name}/json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"Id": id("pod"), "Name": "pod", "Labels": mine.Labels(), "Containers": []any{map[string]any{"Id": id("web")}}})
	})
	u.mux.HandleFunc("GET /v1.41/containers/json", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, []any{map[string]any{"Id": id("web"), "Labels": mine.Labels(), "Status": "Up 2 minutes"}})
	})
}

func TestTheHealthOfAContainerIsDrivenAndShown(t *testing.T) {
	u, h := newUpstream(), &healthcheck{}
	h.serve(u)
	u.mux.HandleFunc("GET /v1.41/events", func(w http.ResponseWriter, r *http.Request) {
		event := func(kind, action, job string) {
			reply(w, map[string]any{"Type": kind, "Action": action, "status": action, "Actor": map[string]any{"ID": id("web"), "Attributes": map[string]string{"io.dockless.agent": "agent", "io.dockless.job": job, "containerExitCode": "3"}}})
		}
		event("container", "health_status", "mine")
		event("container", "died", "theirs")
		event("volume", "create", "theirs")
		event("container", "died", "mine")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := open(t, u)
	resp, err := c.http.Get("http://d/v1.41/events" + filtered(`{"type":["container"],"event":["die","health_status"],"container":["web"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // the test has seen enough
	events := json.NewDecoder(resp.Body)
	expect := func(want string) {
		t.Helper()
		var e struct {
			Action string
			Actor  struct{ Attributes map[string]string }
		}
		if err := events.Decode(&e); err != nil || e.Action != want {
			t.Fatalf("event = %q, %v, want %q", e.Action, err, want)
		}
		if want == "die" && e.Actor.Attributes["exitCode"] != "3" {
			t.Errorf("attributes of the end = %v, want the exit code in Docker's name", e.Actor.Attributes)
		}
	}
	shown := func(want, status string) {
		t.Helper()
		var o struct {
			State struct{ Health struct{ Status string } }
		}
		_, answer := c.do(t, http.MethodGet, "/v1.41/containers/web/json", "")
		if err := json.Unmarshal([]byte(answer), &o); err != nil || o.State.Health.Status != want {
			t.Errorf("health = %q, %v, want %s: %s", o.State.Health.Status, err, want, answer)
		}
		if _, answer := c.do(t, http.MethodGet, "/v1.41/containers/json", ""); !strings.Contains(answer, `"Up 2 minutes (`+status+`)"`) {
			t.Errorf("list = %s, want the status %s", answer, status)
		}
	}
	expect("die")
	c.do(t, http.MethodPost, "/v1.41/containers/web/start", "")
	expect("health_status: starting")
	expect("health_status: unhealthy")
	shown("unhealthy", "unhealthy")
	h.passes.Store(true)
	expect("health_status: healthy")
	shown("healthy", "healthy")
	h.fails.Store(1) // Podman is restarted, say: what follows is still told
	h.passes.Store(false)
	expect("health_status: unhealthy")
	// Started again, it is as one that has just been started, also when it runs.
	c.do(t, http.MethodPost, "/v1.41/containers/web/restart", "")
	expect("health_status: starting")
	h.passes.Store(true)
	expect("health_status: healthy")
	h.gone.Store(true)
}

func TestTheHealthOfAPodsContainersIsDriven(t *testing.T) {
	u, h := newUpstream(), &healthcheck{}
	h.passes.Store(true)
	h.serve(u)
	c := open(t, u)
	if code, answer := c.do(t, http.MethodPost, "/v4.0.0/libpod/pods/pod/start", ""); code/100 != 2 {
		t.Fatalf("starting the pod = %d %s", code, answer)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, answer := c.do(t, http.MethodGet, "/v1.41/containers/json", ""); strings.Contains(answer, `"Up 2 minutes (healthy)"`) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("list = %s, want it healthy", answer)
		}
	}
	h.gone.Store(true)
}

func TestALoginAtAnInsecureRegistryIsAskedThere(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "bobby" || password != "pa55" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer registry.Close()
	u := newUpstream()
	c := open(t, u)
	host := registry.Listener.Addr().String()
	for password, want := range map[string]int{"pa55": http.StatusOK, "wrong": http.StatusUnauthorized} {
		code, answer := c.do(t, http.MethodPost, "/v1.41/auth", fmt.Sprintf(`{"username":"bobby","password":%q,"serveraddress":%q}`, password, host))
		if code != want || strings.Contains(answer, password) {
			t.Errorf("login with %s = %d %s, want %d", password, code, answer, want)
		}
	}
	if code, _ := c.do(t, http.MethodPost, "/v1.41/auth", `{"serveraddress":"registry.example.com"}`); code != http.StatusOK || len(u.requests()) != 1 {
		t.Errorf("login elsewhere = %d after %q, want Podman asked", code, u.requests())
	}
}

func TestAPullFromAnInsecureRegistrySpeaksDockersWords(t *testing.T) {
	u := newUpstream()
	u.mux.HandleFunc("POST /v4.0.0/libpod/images/pull", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("tlsVerify") != "false" || r.FormValue("reference") != "plain.example.com/a:1" || r.Header.Get("X-Registry-Auth") != "secret" {
			w.WriteHeader(http.StatusBadRequest)
			reply(w, map[string]string{"message": r.URL.RawQuery})
			return
		}
		_, _ = io.WriteString(w, `{"stream":"Trying\n"}`+"\n"+`{"id":"0123456789abcdef"}`+"\n"+`{"error":"no room"}`+"\n")
	})
	c := open(t, u, "plain.example.com")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://d/v1.41/images/create?fromImage=plain.example.com%2Fa&tag=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Registry-Auth", "secret")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	answer, err := io.ReadAll(resp.Body)
	want := `{"status":"Trying"}` + "\n" + `{"id":"0123456789ab","status":"Download complete"}` + "\n" + `{"error":"no room","errorDetail":{"message":"no room"}}` + "\n"
	if err != nil || string(answer) != want {
		t.Errorf("progress = %s, %v, want %s", answer, err, want)
	}
}

func TestAnAPICannotBeOpenedWithoutAnOwnerOrOnALongPath(t *testing.T) {
	for name, test := range map[string]struct {
		socket string
		owner  podmanrun.Owner
		want   string
	}{
		"without an owner": {filepath.Join(t.TempDir(), "s"), podmanrun.Owner{Job: "j"}, "no name"},
		"on a long path":   {"/tmp/" + strings.Repeat("x", dockerapi.MaxSocket), mine, "longer than 107"},
		"in no directory":  {filepath.Join(t.TempDir(), "none", "s"), mine, "no such file"},
	} {
		s, err := dockerapi.Open(t.Context(), test.socket, nil, dockerapi.Config{Owner: test.owner}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Open %s = %v, %v, want %s", name, s, err, test.want)
		}
	}
}

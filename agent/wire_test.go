package agent_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

// exchange is one request as it went over the wire, and the status it got.
type exchange struct {
	at           time.Time
	method, path string
	query        url.Values
	scheme       string // of the Authorization header: Basic, Bearer or nothing
	token        string // of the Authorization header
	body         string
	status       int // zero: not answered yet
}

// resource is the last part of the path that is no id.
func (e exchange) resource() string {
	for _, part := range slices.Backward(strings.Split(e.path, "/")) {
		if part != "" && !strings.ContainsAny(part, "0123456789") {
			return part
		}
	}
	return ""
}

// wire stands between an agent and the emulator and writes down what passes.
type wire struct {
	URL string

	mu  sync.Mutex
	all []*exchange
}

// locations changes what the server announces in answer to OPTIONS _apis; nil
// changes nothing.
type locations func([]map[string]any) []map[string]any

// tapped puts a wire in front of srv.
func tapped(t *testing.T, srv *emulatortest.Server, change locations) *wire {
	t.Helper()
	target, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	// Rewrite would set the Host header to the target's; the emulator names itself
	// by what it is asked for, and is to be reached through here.
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ModifyResponse: change.rewrite,
		Transport:      &http.Transport{},
		ErrorLog:       log.New(io.Discard, "", 0), // agents go away in the middle of polls
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the agent went away
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		e := &exchange{at: time.Now(), method: r.Method, path: r.URL.Path, query: r.URL.Query(), body: string(body)}
		e.scheme, e.token, _ = strings.Cut(r.Header.Get("Authorization"), " ")
		w.mu.Lock()
		w.all = append(w.all, e)
		w.mu.Unlock()
		seen := &statusWriter{ResponseWriter: rw}
		proxy.ServeHTTP(seen, r)
		w.mu.Lock()
		e.status = seen.status
		w.mu.Unlock()
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		proxy.Transport.(*http.Transport).CloseIdleConnections()
	})
	w.URL = server.URL
	return w
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// seen returns the exchanges that match, in the order in which they began.
func (w *wire) seen(match func(exchange) bool) []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []exchange
	for _, e := range w.all {
		if match(*e) {
			out = append(out, *e)
		}
	}
	return out
}

// of matches a method and a resource.
func of(method, resource string) func(exchange) bool {
	return func(e exchange) bool { return e.method == method && strings.EqualFold(e.resource(), resource) }
}

// through returns settings that lead over w.
func through(t *testing.T, srv *emulatortest.Server, w *wire) agent.Config {
	t.Helper()
	c := config(t, srv)
	c.URL = w.URL
	return c
}

// rewrite changes the answer to OPTIONS _apis.
func (change locations) rewrite(r *http.Response) error {
	if change == nil || r.Request.Method != http.MethodOptions {
		return nil
	}
	var list struct {
		Count int              `json:"count"`
		Value []map[string]any `json:"value"`
	}
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		return err
	}
	list.Value = change(list.Value)
	list.Count = len(list.Value)
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	r.ContentLength = int64(len(text))
	r.Header.Del("Content-Length")
	return nil
}

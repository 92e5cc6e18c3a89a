package integration_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// toolSite is a web site with versions of a tool, which a task installs. The
// address of an archive leads to another one, which is busy the first time.
type toolSite struct {
	mu    sync.Mutex
	asked map[string]int // path → requests
}

// published are the versions of the tool, and where to find them.
const published = `<a href="owntool-1.4.0.tar.gz">1.4.0</a> <a href="owntool-2.0.1.tar.gz">2.0.1</a> <a href="owntool-2.1.0.tar.gz">2.1.0</a>`

func (s *toolSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	first := s.asked[r.URL.Path] == 1
	s.mu.Unlock()
	name, file := strings.CutPrefix(r.URL.Path, "/files/")
	switch {
	case r.URL.Path == "/":
		_, _ = io.WriteString(w, published) // the client has gone
	case !file:
		http.Redirect(w, r, "/files"+r.URL.Path, http.StatusFound)
	case !strings.Contains(published, name):
		http.NotFound(w, r)
	case first:
		http.Error(w, "too much to do", http.StatusServiceUnavailable)
	default:
		_, _ = w.Write(toolArchive(strings.TrimSuffix(name, ".tar.gz"))) // the client has gone
	}
}

// requests returns what the site was asked for so far.
func (s *toolSite) requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}

// toolArchive packs one version of the tool: a program that says which it is.
func toolArchive(name string) []byte {
	program := []byte("#!/bin/sh\necho \"this is " + name + "\"\n")
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	files := tar.NewWriter(packed)
	err := files.WriteHeader(&tar.Header{Name: name + "/bin/owntool", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = files.Write(program)
	}
	for _, end := range []io.Closer{files, packed} {
		if cerr := end.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		panic(fmt.Sprintf("packing %s in memory: %v", name, err))
	}
	return out.Bytes()
}

// tunnels is a proxy that leads every name to one server, and to nothing without
// its password.
type tunnels struct {
	to       string // host:port
	password string // user:password

	mu      sync.Mutex
	targets []string // as they were asked for
	refused int
}

// newTunnels starts a proxy that ends with the test.
func newTunnels(t *testing.T, to, password string) (*tunnels, *httptest.Server) {
	t.Helper()
	p := &tunnels{to: to, password: password}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	return p, srv
}

func (p *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	known := r.Header.Get("Proxy-Authorization") == "Basic "+base64.StdEncoding.EncodeToString([]byte(p.password))
	p.mu.Lock()
	p.targets = append(p.targets, r.Method+" "+r.Host)
	if !known {
		p.refused++
	}
	p.mu.Unlock()
	if !known || r.Method != http.MethodConnect {
		http.Error(w, "who is there?", http.StatusProxyAuthRequired)
		return
	}
	server, err := new(net.Dialer).DialContext(r.Context(), "tcp", p.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close() //nolint:errcheck // both ends have gone
	client, sent, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close() //nolint:errcheck // both ends have gone
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, sent) // ends with either of them
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
	_ = client.Close()
	up.Wait()
}

// seen returns what was asked for, and how often the password was missing.
func (p *tunnels) seen() (targets []string, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.targets...), p.refused
}

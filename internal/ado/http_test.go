package ado_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

const proxyPassword = "pr0xy-passw0rd"

// proxy is a forward proxy that wants a password. Every host is to be found at
// target, so that names need not be known here.
type proxy struct {
	URL    string // with user and password
	target string // host:port

	mu      sync.Mutex
	entered []string // method and host of every request
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{target: target}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	p.URL = strings.Replace(srv.URL, "://", "://agent:"+proxyPassword+"@", 1)
	return p
}

func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.entered...)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.entered = append(p.entered, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("agent:"+proxyPassword)) {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if r.Method != http.MethodConnect {
		answer(w, http.StatusOK, ado.ConnectionData{})
		return
	}
	far, err := new(net.Dialer).DialContext(r.Context(), "tcp", p.target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = near.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(far, buffered); _ = far.Close() })
	_, _ = io.Copy(near, far)
	_ = near.Close()
	copying.Wait()
}

func TestRequestsGoThroughTheProxyOfTheirScheme(t *testing.T) {
	ca := newAuthority(t)
	service := newService(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, ado.ConnectionData{}) })
	srv := ca.serve(t, ca.leaf(t, nil), service)
	p := newProxy(t, srv.Listener.Addr().String())
	o := over(t, ado.NetworkConfig{CAFile: ca.file, HTTPSProxy: mask.NewSecret(p.URL)})
	if _, err := registration(t, "https://devops.example.com/", o).Connect(t.Context()); err != nil {
		t.Errorf("Connect = %v, want an answer through the tunnel", err)
	}
	o = over(t, ado.NetworkConfig{HTTPProxy: mask.NewSecret(p.URL)})
	if _, err := registration(t, "http://plain.example.com/", o).Connect(t.Context()); err != nil {
		t.Errorf("Connect = %v, want the proxy's answer", err)
	}
	if got, want := strings.Join(p.requests(), ", "), "CONNECT devops.example.com:443, GET plain.example.com"; got != want {
		t.Errorf("the proxy was asked for %s, want %s", got, want)
	}
}

func TestExemptedHostsAreReachedWithoutTheProxy(t *testing.T) {
	for name, c := range map[string]struct {
		host, except string
		proxied      bool
	}{
		"loopback":            {"127.0.0.1", "", false},
		"localhost":           {"localhost", "", false},
		"the metadata server": {"169.254.169.254", "", false},
		"a listed host":       {"devops.example.com", "other.example, devops.example.com", false},
		"a listed domain":     {"devops.example.com", ".example.com", false},
		"a listed network":    {"10.1.2.3", "10.0.0.0/8", false},
		"everything":          {"devops.example.com", "*", false},
		"another host":        {"devops.example.com", "example.org", true},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := ado.OpenNetwork(ado.NetworkConfig{HTTPSProxy: mask.NewSecret("proxy.example.com:3128"), NoProxy: c.except})
			if err != nil {
				t.Fatal(err)
			}
			req := httptest.NewRequest(http.MethodGet, "https://"+c.host+"/", nil)
			via, err := n.NewHTTP().Proxy(req)
			if err != nil || (via != nil) != c.proxied {
				t.Errorf("the proxy for %s = %v, %v, want one: %t", c.host, via, err, c.proxied)
			}
		})
	}
}

// One law: the password of the proxy is in no error and in no line of the log.
func TestThePasswordOfTheProxyIsNotShown(t *testing.T) {
	ca := newAuthority(t)
	srv := ca.serve(t, ca.leaf(t, nil), http.NotFoundHandler())
	p := newProxy(t, srv.Listener.Addr().String())
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, c := range map[string]struct {
		proxy string
		want  string
	}{
		"an unknown authority behind it": {p.URL, "through the proxy 127.0.0.1:"},
		"a wrong password":               {strings.Replace(p.URL, "agent:", "agent:x", 1), "Proxy Authentication Required"},
		"a proxy that is not there":      {strings.Replace(closed.URL, "://", "://agent:"+proxyPassword+"@", 1), "proxyconnect"},
	} {
		t.Run(name, func(t *testing.T) {
			o := over(t, ado.NetworkConfig{HTTPSProxy: mask.NewSecret(c.proxy)})
			var log bytes.Buffer
			o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			_, err := registration(t, "https://devops.example.com/", o).Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Connect = %v, want an error with %q", err, c.want)
			}
			for _, text := range []string{err.Error(), strings.Join(hint.All(err), "; "), log.String()} {
				if strings.Contains(text, proxyPassword) {
					t.Errorf("the password is shown: %s", text)
				}
			}
			if name == "an unknown authority behind it" {
				wrong, _ := errors.AsType[*ado.CertificateError](err)
				if wrong == nil || wrong.Proxy == "" || !strings.Contains(strings.Join(hint.All(err), " "), "or of the proxy") {
					t.Errorf("error = %v, hints %q, want the proxy in both", err, hint.All(err))
				}
			}
		})
	}
	n, err := ado.OpenNetwork(ado.NetworkConfig{HTTPSProxy: mask.NewSecret(p.URL)})
	if err != nil || len(n.Passwords()) != 1 || n.Passwords()[0].Reveal() != proxyPassword {
		t.Errorf("Passwords = %v, %v, want the one of the proxy, to be masked", n.Passwords(), err)
	}
}

func TestAProxyThatCannotBeUsedIsAProblemOfItsSetting(t *testing.T) {
	for _, address := range []string{"ftp://user:hunter2@proxy", "http://user:hunter2@", "http://user:hunter2@pro xy\x7f:1"} {
		_, err := ado.OpenNetwork(ado.NetworkConfig{HTTPSProxy: mask.NewSecret(address)})
		if hints := hint.All(err); len(hints) != 1 || !strings.HasPrefix(hints[0], "set HTTPS_PROXY") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("OpenNetwork = %v, hints %q, want one that names HTTPS_PROXY and no password", err, hints)
		}
	}
}

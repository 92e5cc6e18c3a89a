package ado

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// NetworkConfig says how servers are reached (protocol §1.10).
type NetworkConfig struct {
	CAFile string `envconfig:"DOCKLESS_CA_FILE" desc:"PEM file of certificate authorities to trust besides the system's, for a server or a proxy with a certificate of your own; SSL_CERT_FILE replaces the system's instead"`

	// HTTPSProxy and HTTPProxy are the proxies for each scheme, and NoProxy lists
	// what is reached without: the environment's HTTPS_PROXY, HTTP_PROXY and
	// NO_PROXY. A proxy's address may hold a password.
	HTTPSProxy, HTTPProxy mask.Secret `ignored:"true"`
	NoProxy               string      `ignored:"true"`
}

// Network makes connections. The zero Network goes straight to every server and
// trusts the system's certificate authorities. It may be used concurrently.
type Network struct {
	proxy     func(*url.URL) (*url.URL, error) // nil: none
	roots     *x509.CertPool                   // nil: the system's
	passwords []mask.Secret
}

// OpenNetwork reads the certificate authorities and checks the proxies of c. It
// reports every problem, with hints that name the setting.
func OpenNetwork(c NetworkConfig) (Network, error) {
	var n Network
	var problems []error
	if c.CAFile != "" {
		roots, err := withAuthorities(c.CAFile)
		if err != nil {
			problems = append(problems, hint.With(err, "set DOCKLESS_CA_FILE to a PEM file with the certificates of the authorities to trust"))
		}
		n.roots = roots
	}
	for _, p := range []struct {
		name  string
		value mask.Secret
	}{{"HTTPS_PROXY", c.HTTPSProxy}, {"HTTP_PROXY", c.HTTPProxy}} {
		password, err := checkProxy(p.value.Reveal())
		if err != nil {
			problems = append(problems, hint.With(fmt.Errorf("the proxy of %s: %w", p.name, err), "set %s to the address of a proxy, for example http://proxy.example.com:3128", p.name))
		}
		if password != "" {
			n.passwords = append(n.passwords, mask.NewSecret(password))
		}
	}
	if !c.HTTPSProxy.IsZero() || !c.HTTPProxy.IsZero() {
		n.proxy = (&httpproxy.Config{HTTPSProxy: c.HTTPSProxy.Reveal(), HTTPProxy: c.HTTPProxy.Reveal(), NoProxy: c.NoProxy}).ProxyFunc()
	}
	return n, errors.Join(problems...)
}

// withAuthorities returns the system's certificate authorities and those of a file.
func withAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading certificate authorities: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificate authorities: %w", err)
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return roots, nil
}

// checkProxy returns the password in a proxy's address. The error never quotes
// the address. httpproxy itself goes straight when it cannot read one.
func checkProxy(address string) (password string, err error) {
	if address == "" {
		return "", nil
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address // host:port is allowed
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", errors.New("it is no address")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return "", errors.New("it is neither an http, an https nor a socks5 address")
	}
	if u.User != nil {
		password, _ = u.User.Password()
	}
	return password, nil
}

// Passwords are what the addresses of the proxies carry, to be masked.
func (n Network) Passwords() []mask.Secret { return n.passwords }

// NewHTTP returns connections as protocol §1.9 wants them: HTTP/1.1 only, so
// that a long poll, a renewal and an upload never share one connection and a
// broken one delays nobody else; probed every 5 s after 30 s of silence.
func (n Network) NewHTTP() *http.Transport {
	dialer := &net.Dialer{
		Timeout:         30 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 9},
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	t := &http.Transport{
		DialContext:         dialer.DialContext,
		Protocols:           &protocols,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConns:        100,
		MaxIdleConnsPerHost: 16, // poll, renewal, records, feed and the uploads of one job, with room
	}
	if n.proxy != nil {
		t.Proxy = n.proxyOf
	}
	if n.roots != nil {
		t.TLSClientConfig = tlsConfig(n.roots)
	}
	return t
}

// NewHTTP returns the connections of the zero [Network].
func NewHTTP() *http.Transport { return Network{}.NewHTTP() }

// proxyOf returns the proxy for a request, nil for none. Loopback addresses
// never have one (protocol §1.10; httpproxy sees to it), and neither have
// link-local ones, of which the metadata service of an Azure machine is one:
// seen from a proxy they are another machine.
func (n Network) proxyOf(req *http.Request) (*url.URL, error) {
	if ip := net.ParseIP(strings.Trim(req.URL.Hostname(), "[]")); ip != nil && ip.IsLinkLocalUnicast() {
		return nil, nil
	}
	return n.proxy(req.URL)
}

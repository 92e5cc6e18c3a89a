package ado_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
)

// authority issues certificates that no system trusts.
type authority struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
	file string // PEM
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{key: agentKey()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Orchard CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = issue(t, template, template, a.key)
	a.file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, template, parent *x509.Certificate, key *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// leaf issues the certificate of a server on 127.0.0.1, changed.
func (a authority) leaf(t *testing.T, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc123), Subject: pkix.Name{CommonName: "devops.example.com"}, DNSNames: []string{"devops.example.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	return issue(t, template, a.cert, a.key)
}

// serve puts TLS with a certificate in front of h.
func (a authority) serve(t *testing.T, leaf *x509.Certificate, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of every client that hangs up
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: a.key}}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// over returns options that use a network.
func over(t *testing.T, c ado.NetworkConfig) ado.Options {
	t.Helper()
	n, err := ado.OpenNetwork(c)
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	connections := n.NewHTTP()
	t.Cleanup(connections.CloseIdleConnections)
	o.HTTP = connections
	return o
}

func TestAnErrorOfTLSSaysWhichCertificateAndWhatToDo(t *testing.T) {
	ca := newAuthority(t)
	for name, c := range map[string]struct {
		trusted bool
		change  func(*x509.Certificate)
		want    string
		hint    string
	}{
		"an unknown authority": {false, nil, "signed by an authority that is not trusted here", "DOCKLESS_CA_FILE"},
		"another host":         {true, func(c *x509.Certificate) { c.IPAddresses = nil }, "its certificate is for devops.example.com", "AZP_URL"},
		"expired": {
			true, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
			"its certificate has expired; the clock of this machine says " + time.Now().UTC().Format("2006-01-02T15"), "renew the server's certificate",
		},
		"not valid yet":   {true, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "its certificate is not valid yet", "clock"},
		"not for servers": {true, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "is not valid: ", "valid for TLS servers"},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := ca.leaf(t, c.change)
			srv := ca.serve(t, leaf, http.NotFoundHandler())
			var config ado.NetworkConfig
			if c.trusted {
				config.CAFile = ca.file
			}
			o := over(t, config)
			o.RetryPause = time.Hour // no attempt does better, so none is made
			_, err := registration(t, srv.URL, o).Connect(t.Context())
			wrong, ok := errors.AsType[*ado.CertificateError](err)
			if !ok {
				t.Fatalf("Connect = %v, want a CertificateError", err)
			}
			sum := sha256.Sum256(leaf.Raw)
			for _, part := range []string{
				"no trusted connection to " + strings.TrimPrefix(srv.URL, "https://") + ": ", c.want,
				`subject "CN=devops.example.com", issuer "CN=Orchard CA", serial abc123`,
				"valid from " + leaf.NotBefore.Format(time.RFC3339) + " to " + leaf.NotAfter.Format(time.RFC3339),
				"SHA-256 " + hex.EncodeToString(sum[:]),
			} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error = %s, want it to say %q", err, part)
				}
			}
			if wrong.Proxy != "" || strings.Contains(err.Error(), "proxy") {
				t.Errorf("error = %s, want no word of a proxy", err)
			}
			if hints := hint.All(err); len(hints) != 1 || !strings.Contains(hints[0], c.hint) {
				t.Errorf("hints = %q, want one with %q", hints, c.hint)
			}
		})
	}
}

func TestPlainHTTPOnThePortIsNamed(t *testing.T) {
	srv := newService(t, nil)
	_, err := registration(t, strings.Replace(srv.URL, "http:", "https:", 1), options(t)).Connect(t.Context())
	if _, ok := errors.AsType[*ado.CertificateError](err); !ok || !strings.Contains(err.Error(), "answers with plain HTTP, not TLS") {
		t.Errorf("Connect = %v, want one that says so", err)
	}
	if hints := hint.All(err); len(hints) != 1 || !strings.Contains(hints[0], "AZP_URL") {
		t.Errorf("hints = %q, want one that names AZP_URL", hints)
	}
}

func TestAnExtraAuthorityIsTrustedBesideTheSystems(t *testing.T) {
	ca := newAuthority(t)
	service := newService(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, ado.ConnectionData{}) })
	srv := ca.serve(t, ca.leaf(t, nil), service)
	if _, err := registration(t, srv.URL, over(t, ado.NetworkConfig{CAFile: ca.file})).Connect(t.Context()); err != nil {
		t.Errorf("Connect = %v, want none", err)
	}
}

func TestAFileOfAuthoritiesThatCannotBeUsedIsAProblemOfItsSetting(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, "/nowhere/ca.pem"} {
		_, err := ado.OpenNetwork(ado.NetworkConfig{CAFile: file})
		if hints := hint.All(err); len(hints) != 1 || !strings.Contains(hints[0], "DOCKLESS_CA_FILE") {
			t.Errorf("OpenNetwork with %s = %v, hints %q, want one that names DOCKLESS_CA_FILE", file, err, hints)
		}
	}
}

// Clients of others, such as Microsoft Entra's, get the same explanation.
func TestExplainedConnectionsSayWhichCertificate(t *testing.T) {
	ca := newAuthority(t)
	srv := ca.serve(t, ca.leaf(t, nil), http.NotFoundHandler())
	connections := ado.NewHTTP()
	defer connections.CloseIdleConnections()
	client := &http.Client{Transport: ado.Explain(connections)}
	resp, err := client.Get(srv.URL)
	if err == nil {
		_ = resp.Body.Close()
	}
	if _, ok := errors.AsType[*ado.CertificateError](err); !ok || len(hint.All(err)) != 1 {
		t.Errorf("Get = %v, want a CertificateError with a hint", err)
	}
}

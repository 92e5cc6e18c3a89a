package ado

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
)

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// CertificateError says which certificate was not accepted, and why. It wraps
// what crypto/tls said.
type CertificateError struct {
	Host        string // that was asked for, as in the address
	Proxy       string // host of the proxy in between; empty: none
	Reason      string
	Certificate *x509.Certificate // what was presented; nil when nothing was

	err error
}

// Error describes the certificate so that it can be found again: by its subject,
// issuer, validity and SHA-256 fingerprint.
func (e *CertificateError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no trusted connection to %s", e.Host)
	if e.Proxy != "" {
		fmt.Fprintf(&b, " through the proxy %s", e.Proxy)
	}
	b.WriteString(": " + e.Reason)
	if c := e.Certificate; c != nil {
		sum := sha256.Sum256(c.Raw)
		fmt.Fprintf(&b, "; the certificate presented is subject %q, issuer %q, serial %s, valid from %s to %s, SHA-256 %s",
			c.Subject, c.Issuer, hex.EncodeToString(c.SerialNumber.Bytes()),
			c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), hex.EncodeToString(sum[:]))
	}
	return b.String()
}

// Unwrap returns what crypto/tls said.
func (e *CertificateError) Unwrap() error { return e.err }

// Explain returns connections whose errors of TLS are a [*CertificateError] with
// a hint, for clients other than those of this package, whose errors are so
// already.
func Explain(t *http.Transport) http.RoundTripper { return explaining{t} }

type explaining struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (e explaining) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, err := e.Transport.RoundTrip(req)
	if explained := explain(e.Transport, req, err); explained != nil {
		return nil, explained
	}
	return answer, err
}

// explain returns err as a [*CertificateError] with a hint, or nil when it has
// nothing to do with TLS.
func explain(t http.RoundTripper, req *http.Request, err error) error {
	if err == nil {
		return nil
	}
	e := &CertificateError{Host: req.URL.Host, err: err}
	if transport, ok := t.(*http.Transport); ok && transport.Proxy != nil {
		if proxy, perr := transport.Proxy(req); perr == nil && proxy != nil {
			e.Proxy = proxy.Host // without user and password
		}
	}
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(failed.UnverifiedCertificates) > 0 {
		e.Certificate = failed.UnverifiedCertificates[0]
	}
	advice := e.explain()
	if advice == "" {
		return nil
	}
	return hint.With(e, "%s", advice)
}

// explain fills in the reason and returns what to do, or "" when the error is of
// another kind.
func (e *CertificateError) explain() (advice string) {
	between := ""
	if e.Proxy != "" {
		between = ", or of the proxy if that opens connections"
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](e.err); ok {
		e.keep(unknown.Cert)
		e.Reason = "its certificate is signed by an authority that is not trusted here"
		return "add the certificate of the issuing authority" + between + " to the file of DOCKLESS_CA_FILE"
	}
	if wrong, ok := errors.AsType[x509.HostnameError](e.err); ok {
		e.keep(wrong.Certificate)
		e.Reason = "its certificate is for " + names(wrong.Certificate)
		return "set AZP_URL to a name that the server's certificate has, or give the server a certificate for its name"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](e.err); ok {
		e.keep(invalid.Cert)
		return e.invalid(invalid)
	}
	if plain, ok := errors.AsType[tls.RecordHeaderError](e.err); ok {
		e.Certificate = nil
		e.Reason = "it does not speak TLS"
		if string(plain.RecordHeader[:]) == "HTTP/" {
			e.Reason = "it answers with plain HTTP, not TLS"
		}
		return "set AZP_URL to the port that speaks https, or to an http address if the server has none"
	}
	return ""
}

// keep takes the certificate that an error is about, unless the chain that was
// presented is known: its first one is what the operator can look at.
func (e *CertificateError) keep(c *x509.Certificate) {
	if e.Certificate == nil {
		e.Certificate = c
	}
}

func (e *CertificateError) invalid(err x509.CertificateInvalidError) (advice string) {
	whose := "its certificate"
	if err.Cert != nil && e.Certificate != nil && !err.Cert.Equal(e.Certificate) {
		whose = fmt.Sprintf("the certificate %q in its chain", err.Cert.Subject)
	}
	if err.Reason != x509.Expired || err.Cert == nil {
		e.Reason = whose + " is not valid: " + strings.TrimPrefix(err.Error(), "x509: ")
		return "give the server a certificate that is valid for TLS servers"
	}
	now := time.Now().UTC()
	if now.Before(err.Cert.NotBefore) {
		e.Reason = fmt.Sprintf("%s is not valid yet; the clock of this machine says %s", whose, now.Format(time.RFC3339))
		return "set this machine's clock, or wait until the certificate is valid"
	}
	e.Reason = fmt.Sprintf("%s has expired; the clock of this machine says %s", whose, now.Format(time.RFC3339))
	return "renew the server's certificate, or set this machine's clock if it is wrong"
}

// names lists whom a certificate is for.
func names(c *x509.Certificate) string {
	var all []string
	all = append(all, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	const most = 5 // those of a content network's certificate would fill pages
	if len(all) > most {
		all = append(all[:most], "others")
	}
	if len(all) == 0 {
		return "no name of a server"
	}
	return strings.Join(all, ", ")
}

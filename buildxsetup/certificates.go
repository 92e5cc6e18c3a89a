package buildxsetup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Certificates are those of a connection with mutual TLS. The zero value is a
// connection without.
type Certificates struct {
	Client *x509.Certificate // ours
	Server *x509.Certificate // what the node presented; nil when nobody answered
}

// Certificates looks at the certificates on the way to the node: at those in the
// files, and at the one that its buildkitd presents, which has to take ours. A node
// that does not answer at all is no error: it has none to look at. Every other error
// has a hint.
func (n Node) Certificates(ctx context.Context) (Certificates, error) {
	if n.tls == nil {
		return Certificates{}, nil
	}
	conf, err := n.tls.config()
	if err != nil {
		return Certificates{}, hint.With(err, "put ca.pem, cert.pem and key.pem into the directory that BUILDKIT_TLS_DIR names")
	}
	c := Certificates{Client: conf.Certificates[0].Leaf}
	if problem := validity(c.Client, time.Now()); problem != "" {
		return c, hint.With(fmt.Errorf("the client's certificate in %s %s", n.tls.cert, problem), "make new certificates, as deploy/make-certs.sh does, and put them where BUILDKIT_TLS_DIR and buildkitd look")
	}
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := n.Dial(dialing)
	if isCertificateError(err) {
		return c, hint.With(err, "ca.pem in BUILDKIT_TLS_DIR must have signed buildkitd's certificate, which must be valid and for the host in BUILDKIT_HOST")
	}
	secure, ok := conn.(*tls.Conn)
	if err != nil || !ok {
		return c, nil //nolint:nilerr // nobody to look at
	}
	c.Server = secure.ConnectionState().PeerCertificates[0]
	err = accepted(secure)
	_ = secure.Close() // only a greeting was written
	return c, hint.With(err, "%s was not signed by an authority that buildkitd trusts ([grpc.tls] ca in its buildkitd.toml): take both from one run of deploy/make-certs.sh", n.tls.cert)
}

// patience is for a handshake, and for what follows it: milliseconds.
const patience = time.Second

// greeting is how a client of HTTP/2, and so of gRPC, begins (RFC 9113 §3.4); the
// server's own beginning follows.
const greeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// accepted returns the alert with which a server refuses our certificate. With TLS 1.3
// the handshake is over for us by then: the alert is the first thing that comes.
func accepted(conn *tls.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil //nolint:nilerr // it is closed: the question for the workers says why
	}
	_, err := io.WriteString(conn, greeting)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if alert, ok := errors.AsType[*net.OpError](err); ok && alert.Op == "remote error" { // as crypto/tls calls an alert of the other side
		return fmt.Errorf("buildkitd does not accept the client's certificate: %w", alert.Err)
	}
	return nil // silence and an end are for the question for the workers to explain
}

// validity says what is wrong with the dates of a certificate; empty is nothing.
func validity(c *x509.Certificate, now time.Time) string {
	switch {
	case now.Before(c.NotBefore):
		return "is not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
	case now.After(c.NotAfter):
		return "has expired on " + c.NotAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

package telemetry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// collectorTimeout is how long one request may take, by OpenTelemetry's specification
// of exporters.
const collectorTimeout = 10 * time.Second

var errRedirect = errors.New("the collector answers with a redirect, which spans and their headers do not follow")

// httpClient returns what OTLP over HTTP sends with. It is ours because the exporter's
// own follows redirects, with headers that hold credentials, and cannot be told not to.
// With a client of ours the exporter reads no variables for certificates and timeouts
// any more, so c has them.
func (c Config) httpClient() (*http.Client, error) {
	timeout, err := c.timeout()
	if err != nil {
		return nil, err
	}
	conf, err := c.tls()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	return &http.Client{
		Transport: transport, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}, nil
}

// timeout is what one request may take.
func (c Config) timeout() (time.Duration, error) {
	name, text := c.either("TIMEOUT", c.TracesTimeout, c.Timeout)
	if text == "" {
		return collectorTimeout, nil
	}
	ms, err := strconv.Atoi(text)
	if err != nil || ms <= 0 {
		return 0, fmt.Errorf("%s is %q, not a number of milliseconds", name, text)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// tls is whom c trusts, and the certificate that it shows.
func (c Config) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := c.either("CERTIFICATE", c.TracesCertificate, c.Certificate); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the file of %s: %w", name, err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("the file of %s, %s, holds no certificate", name, file)
		}
	}
	name, certificate := c.either("CLIENT_CERTIFICATE", c.TracesClientCertificate, c.ClientCertificate)
	keyName, key := c.either("CLIENT_KEY", c.TracesClientKey, c.ClientKey)
	switch {
	case certificate == "" && key == "":
	case certificate == "":
		return nil, fmt.Errorf("%s is set, and no certificate that the key is of", keyName)
	case key == "":
		return nil, fmt.Errorf("%s is set, and no key of the certificate", name)
	default:
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("reading the files of %s and %s: %w", name, keyName, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// either returns the value that holds for spans, and the name of its variable.
func (c Config) either(name, ofTraces, ofAll string) (variable, value string) {
	if ofTraces != "" {
		name = "TRACES_" + name
	}
	return "OTEL_EXPORTER_OTLP_" + name, cmp.Or(ofTraces, ofAll)
}

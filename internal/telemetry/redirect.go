package telemetry

import (
	"errors"
	"net/http"
	"net/url"
)

var errRedirect = errors.New("the collector answers with a redirect, which spans and their headers do not follow")

// proxyUnlessRedirected is the proxy of the environment for what is sent to the collector,
// and refuses what the collector sends on to somewhere else: headers that hold credentials
// would go there as well, those of other names than Authorization to any host.
//
// The exporter asks it before each request. A client of our own could say it more plainly,
// but with that the exporter reads none of OTEL_EXPORTER_OTLP_CERTIFICATE,
// _CLIENT_CERTIFICATE, _CLIENT_KEY and _TIMEOUT, nor those of traces alone.
func proxyUnlessRedirected(r *http.Request) (*url.URL, error) {
	if r.Response != nil { // what made the client send this one
		return nil, errRedirect
	}
	return http.ProxyFromEnvironment(r)
}

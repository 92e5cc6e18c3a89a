// Package registryhttp makes the connections to image registries.
package registryhttp

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// shared are the connections of callers that keep none of their own.
var shared = sync.OnceValue(func() pair { return pairOf(remote.DefaultTransport) })

// pair are two ways to connect.
type pair struct{ checked, unchecked http.RoundTripper }

func pairOf(checked http.RoundTripper) pair {
	known, ok := checked.(*http.Transport)
	if !ok {
		return pair{checked, checked} // somebody's own, for tests
	}
	unchecked := known.Clone()
	if unchecked.TLSClientConfig == nil {
		unchecked.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	unchecked.TLSClientConfig.InsecureSkipVerify = true // for registries that the operator names
	return pair{checked, unchecked}
}

// Transport connects to registries. It may be used concurrently.
type Transport struct {
	pair
	insecure []string
}

// Shared returns a transport whose idle connections all callers share. The
// certificates of the registries in insecure, host[:port], are not checked, as
// BuildKit does not; those of the hosts that they send their clients to are.
func Shared(insecure []string) *Transport { return &Transport{pair: shared(), insecure: insecure} }

// Own is [Shared] with connections of its own, for a caller that closes idle ones.
func Own(insecure []string) *Transport {
	checked := remote.DefaultTransport
	if known, ok := checked.(*http.Transport); ok {
		checked = known.Clone()
	}
	return &Transport{pair: pairOf(checked), insecure: insecure}
}

// RoundTrip sends one request, whose body is made anew where it can be: the layers
// above, which get a new token or try again, send a body that was read before.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.GetBody != nil {
		_ = r.Body.Close() // the second time it is closed already
		body, err := r.GetBody()
		if err != nil {
			return nil, fmt.Errorf("reading what is sent to %s: %w", r.URL.Host, err)
		}
		r = r.WithContext(r.Context()) // a request that was handed in is not changed
		r.Body = body
	}
	if slices.Contains(t.insecure, r.URL.Host) {
		return t.unchecked.RoundTrip(r)
	}
	return t.checked.RoundTrip(r)
}

// CloseIdleConnections closes those that nothing is using.
func (t *Transport) CloseIdleConnections() {
	for _, way := range []http.RoundTripper{t.checked, t.unchecked} {
		if c, ok := way.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

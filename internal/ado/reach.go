package ado

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// Reached is what a server shows to whoever asks without a credential.
type Reached struct {
	Status   int                  // of the answer; 401 is the usual one
	TLS      *tls.ConnectionState // nil: the connection is not encrypted
	Ahead    time.Duration        // the server's clock less this machine's; zero within the noise
	HasClock bool                 // whether the answer had a date to tell by
}

// Reach asks the server at address without a credential whether it is there. Every
// answer that an Azure DevOps may give is good; one that only something in between
// would give, or nobody, is an error with a hint. http is usually
// [Network.NewHTTP].
func Reach(ctx context.Context, address string, http *http.Transport) (Reached, error) {
	r, err := reach(ctx, strings.TrimRight(address, "/"), http)
	if _, untrusted := errors.AsType[*CertificateError](err); untrusted {
		return r, err // it has its own hint, and says to whom
	}
	if err != nil {
		return r, unreachable(fmt.Errorf("connecting to %s: %w", redactedURL(address), err))
	}
	return r, nil
}

func reach(ctx context.Context, address string, connections *http.Transport) (Reached, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/_apis/connectionData", nil)
	if err != nil {
		return Reached{}, errors.New("it is no address")
	}
	req.Header.Set("Accept", mediaJSON)
	req.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
	sent := time.Now()
	answer, err := Explain(connections).RoundTrip(req) // no redirect is followed
	switch {
	case err != nil && ctx.Err() != nil:
		return Reached{}, &connectionError{context.Cause(ctx)}
	case err != nil:
		return Reached{}, &connectionError{err}
	}
	defer func() { _ = answer.Body.Close() }() // nothing of it is read
	var clock Clock
	clock.observe(req.URL.Host, sent, answer.Header)
	r := Reached{Status: answer.StatusCode, TLS: answer.TLS}
	r.Ahead, r.HasClock = clock.hosts[req.URL.Host]
	if answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusProxyAuthRequired || answer.StatusCode >= http.StatusInternalServerError {
		return r, &StatusError{Method: req.Method, Path: req.URL.Path, Code: answer.StatusCode}
	}
	return r, nil
}

// nobody is the id of an agent that does not exist: ids are given from one upwards.
const nobody AgentID = math.MaxInt32

// ProveManage asks whether the credential may manage the agents of a pool, and
// changes nothing: it gives capabilities to an agent that does not exist. It returns
// nil when that is all that is wrong, [ErrUnauthorized] when the token's scope does
// not allow it and [ErrAccessDenied] when its owner's role does not. That the service
// looks at the scope first, then at the role and then for the agent is inferred; an
// order in which it looked for the agent first would make this prove too little.
func (r *Registration) ProveManage(ctx context.Context, pool PoolID) error {
	err := r.SetUserCapabilities(ctx, pool, nobody, nil)
	if errors.Is(err, ErrAgentNotFound) {
		return nil
	}
	return err
}

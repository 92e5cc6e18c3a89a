// Package entra knows how to get Microsoft Entra tokens. It is
// the only place that meets azidentity, and talks to Microsoft Entra, to the
// metadata service of an Azure machine, or to the az command.
//
// One use flows like this: [New] checks a [Config], [Source.Token] signs in and
// keeps the token until most of its life is over, and [Source.Refuse] drops one
// that the resource did not accept.
package entra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/dockless-ci/dockless/internal/mask"
)

const (
	// AzureDevOps is the scope of Azure DevOps, with everything its pools allow the
	// identity (protocol §1.11).
	AzureDevOps = "499b84ac-1321-427f-aa17-267ca6975798/.default"
	// renewalShare is the share of a token's life after which a new one is
	// fetched ahead of time, as for the agent's own tokens (protocol §3.3).
	renewalShare = 0.8
	// lastUse is how long before its end a token is not handed out any more when
	// a new one cannot be had: the request it goes with has to arrive.
	lastUse = 30 * time.Second
	// fetchTimeout bounds one sign-in with all its attempts: three round trips,
	// or az, which takes seconds to start.
	fetchTimeout = time.Minute
)

// Options are what a [Source] needs besides its settings.
type Options struct {
	HTTP       http.RoundTripper // connections; required
	Log        *slog.Logger      // required
	Scope      string            // what the tokens are for, a resource and /.default; required
	Retries    int               // attempts of one request after the first; zero is none
	RetryPause time.Duration     // before the first of them; it grows
}

// Source signs in and keeps the latest token. It may be called concurrently.
type Source struct {
	config  Config
	options Options

	busy chan struct{} // holds one element while somebody reads or changes what follows
	// Guarded by busy:
	token   mask.Secret
	way     string // by which token was got
	renewAt time.Time
	useTill time.Time
}

// New returns a source that has signed in nowhere yet. It reports every problem
// of the settings, and files that cannot be read, with hints.
func New(c Config, o Options) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Source{config: c, options: o, busy: make(chan struct{}, 1)}
	for _, way := range c.ways() {
		if _, err := s.credential(way, &wire{}); err != nil {
			return nil, fmt.Errorf("reading the Azure identity: %w", err)
		}
	}
	return s, nil
}

// Token returns a token that is good now. It signs in when there is none or when
// most of its life is over; concurrent callers wait for one sign-in. It returns
// a [*RefusedError] when Microsoft Entra does not accept the identity, and the
// cause of ctx when that ends first.
func (s *Source) Token(ctx context.Context) (mask.Secret, error) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return mask.Secret{}, fmt.Errorf("waiting for a Microsoft Entra token: %w", context.Cause(ctx))
	}
	if !s.token.IsZero() && time.Now().Before(s.renewAt) {
		return s.token, nil
	}
	fetching, cancel := context.WithTimeoutCause(ctx, fetchTimeout, fmt.Errorf("signing in took longer than %s", fetchTimeout))
	defer cancel()
	token, way, err := s.fetch(fetching)
	if err != nil {
		err = fmt.Errorf("getting a Microsoft Entra token: %w", err)
		if ctx.Err() == nil && !s.token.IsZero() && time.Now().Before(s.useTill) {
			s.options.Log.WarnContext(ctx, "the Microsoft Entra token could not be renewed ahead of time", "error", err)
			return s.token, nil
		}
		return mask.Secret{}, err
	}
	life := time.Until(token.ExpiresOn)
	s.token, s.way = mask.NewSecret(token.Token), way
	s.renewAt = time.Now().Add(time.Duration(float64(life) * renewalShare))
	if !token.RefreshOn.IsZero() && token.RefreshOn.Before(s.renewAt) {
		s.renewAt = token.RefreshOn
	}
	s.useTill = token.ExpiresOn.Add(-lastUse)
	return s.token, nil
}

// Way is how the latest token was got: "workload identity", "certificate",
// "secret", "managed identity" or "az login"; empty before the first one.
func (s *Source) Way() string {
	s.busy <- struct{}{}
	defer func() { <-s.busy }()
	return wayNames[s.way]
}

// Refuse forgets token, unless a newer one has taken its place already.
func (s *Source) Refuse(token mask.Secret) {
	s.busy <- struct{}{}
	defer func() { <-s.busy }()
	if s.token.Equal(token) {
		s.token = mask.Secret{}
	}
}

var errEmpty = errors.New("the answer has no token")

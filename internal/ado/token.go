package ado

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// assertionLife is how long one signed assertion is good for (protocol §3.1).
	assertionLife = 5 * time.Minute
	// assertionBackdate hides a difference between the clocks that [Clock] counts
	// as noise; the service accepts thirty seconds (protocol §3.1).
	assertionBackdate = 10 * time.Second
	// renewalShare is the share of a token's life after which a new one is
	// fetched ahead of time (protocol §3.3), give or take renewalSpread: agents
	// that started together do not all ask in the same second.
	renewalShare  = 0.8
	renewalSpread = 0.05
	// unknownLife is assumed of a token whose answer does not say. It is shorter
	// than any life that was seen; a challenge corrects it anyway.
	unknownLife = 10 * time.Minute
)

// Credentials are what registration gives an agent to fetch tokens with.
type Credentials struct {
	ClientID string
	Audience string // the authorization URL, verbatim
	Endpoint string // where requests go: Audience, but for servers on premises
	Key      *rsa.PrivateKey
}

// TokenSource fetches the agent's tokens and keeps the latest. It may be shared
// by many connections and called concurrently.
type TokenSource struct {
	credentials Credentials
	http        *http.Client
	clock       *Clock

	busy chan struct{} // holds one element while somebody reads or changes what follows
	// Guarded by busy:
	token   mask.Secret
	renewAt time.Time
}

// NewTokenSource returns a source that has fetched nothing yet.
func NewTokenSource(c Credentials, o Options) *TokenSource {
	if o.Clock == nil {
		o.Clock = &Clock{}
	}
	return &TokenSource{
		credentials: c, clock: o.Clock,
		http: &http.Client{
			Transport:     &transport{options: o, token: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		busy: make(chan struct{}, 1),
	}
}

// Token returns a token that is good now. It fetches one when there is none or
// when most of its life is over. It returns [ErrUnauthorized] when the
// registration is no longer known, and [ErrClockSkew] when the clocks cannot be
// reconciled.
func (s *TokenSource) Token(ctx context.Context) (mask.Secret, error) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return mask.Secret{}, context.Cause(ctx)
	}
	if !s.token.IsZero() && time.Now().Before(s.renewAt) {
		return s.token, nil
	}
	answer, err := s.fetch(ctx)
	if err != nil {
		return mask.Secret{}, fmt.Errorf("fetching a token for client %s: %w", s.credentials.ClientID, err)
	}
	life := time.Duration(answer.ExpiresIn) * time.Second
	if life <= 0 {
		life = unknownLife
	}
	s.token = mask.NewSecret(answer.AccessToken)
	share := float64(life) * renewalShare
	spread := float64(life) * renewalSpread
	s.renewAt = time.Now().Add(retry.Between(time.Duration(share-spread), time.Duration(share+spread)))
	return s.token, nil
}

// fetch asks for a token, and once more by the server's clock when ours is wrong
// and no earlier answer has told so.
func (s *TokenSource) fetch(ctx context.Context) (TokenAnswer, error) {
	answer, err := s.request(ctx)
	skewed, ok := errors.AsType[*skewError](err)
	if !ok || skewed.serverTime.IsZero() {
		return answer, err
	}
	s.clock.set(s.host(), time.Until(skewed.serverTime), 0)
	return s.request(ctx)
}

func (s *TokenSource) request(ctx context.Context) (TokenAnswer, error) {
	form, err := s.form()
	if err != nil {
		return TokenAnswer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.credentials.Endpoint, strings.NewReader(form))
	if err != nil {
		return TokenAnswer{}, errors.New("the token endpoint is not a URL")
	}
	// Each attempt has an assertion of its own: one whose answer was lost may have
	// been granted, and none is granted twice. All are of the same length.
	req.GetBody = func() (io.ReadCloser, error) {
		form, err := s.form()
		return io.NopCloser(strings.NewReader(form)), err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", mediaJSON)
	resp, err := s.http.Do(req) //nolint:gosec // as above
	if err != nil {
		err = cleaned(err)
		if refused, ok := errors.AsType[*tokenError](err); ok {
			return TokenAnswer{}, refused.cause()
		}
		return TokenAnswer{}, err
	}
	var answer TokenAnswer
	if _, err := decode(resp, &answer); err != nil {
		return TokenAnswer{}, err
	}
	if answer.AccessToken == "" {
		return TokenAnswer{}, errors.New("the token endpoint's answer has no token")
	}
	return answer, nil
}

// host is where tokens come from.
func (s *TokenSource) host() string {
	u, err := url.Parse(s.credentials.Endpoint)
	if err != nil {
		return ""
	}
	return u.Host
}

// form is a request for a token with a fresh assertion.
func (s *TokenSource) form() (string, error) {
	assertion, err := s.assertion()
	if err != nil {
		return "", err
	}
	return url.Values{
		"grant_type":            {GrantClientCredentials},
		"client_assertion_type": {AssertionTypeJWT},
		"client_assertion":      {assertion},
	}.Encode(), nil
}

// assertion is a fresh proof that we hold the key (protocol §3.1). It has no iat.
func (s *TokenSource) assertion() (string, error) {
	from := s.clock.At(s.credentials.Endpoint).Add(-assertionBackdate)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": s.credentials.ClientID,
		"sub": s.credentials.ClientID,
		"aud": s.credentials.Audience,
		"jti": uuid.NewString(),
		"nbf": from.Unix(),
		"exp": from.Add(assertionLife).Unix(),
	}).SignedString(s.credentials.Key)
	if err != nil {
		return "", fmt.Errorf("signing the assertion: %w", err)
	}
	return signed, nil
}

// authorize implements authorizer.
func (s *TokenSource) authorize(ctx context.Context, req *http.Request) (string, error) {
	token, err := s.Token(ctx)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	return token.Reveal(), nil
}

// refused implements authorizer: it forgets secret, unless a newer token has
// taken its place already.
func (s *TokenSource) refused(secret string) bool {
	s.busy <- struct{}{}
	defer func() { <-s.busy }()
	if s.token.Reveal() == secret {
		s.token = mask.Secret{}
	}
	return true
}

// tokenError is the token endpoint's status 400, which has a body of its own
// shape (protocol §3.2).
type tokenError struct {
	code       string // the endpoint's short name for the reason
	clock      bool
	serverTime time.Time // zero when the answer does not tell
}

func (e *tokenError) Error() string {
	return fmt.Sprintf("the token endpoint refused the assertion: %s", e.code)
}

func (e *tokenError) cause() error {
	if e.clock {
		return &skewError{e.serverTime}
	}
	return fmt.Errorf("%w: %w", ErrUnauthorized, e)
}

// skewError is a refusal because of our clock.
type skewError struct{ serverTime time.Time }

func (e *skewError) Error() string {
	if e.serverTime.IsZero() {
		return ErrClockSkew.Error()
	}
	return fmt.Sprintf("%v: the server's time is %s", ErrClockSkew, e.serverTime.UTC().Format(time.RFC3339))
}
func (e *skewError) Is(target error) bool { return target == ErrClockSkew }

// codeName is what an OAuth error code looks like; anything else is not quoted.
var codeName = regexp.MustCompile(`^[a-z_]{1,64}$`)

// readRefusal reads the body of a 400 of the token endpoint.
func readRefusal(answer *http.Response, body []byte) *tokenError {
	var r TokenRefusal
	if json.Unmarshal(trimBOM(bytes.TrimSpace(body)), &r) != nil || r.Error == "" {
		return nil
	}
	refused := &tokenError{code: "with an unreadable reason"}
	if codeName.MatchString(r.Error) {
		refused.code = r.Error
	}
	description := r.Description + r.DescriptionAlt
	if _, clock, ok := strings.Cut(description, ClockSkewMarker); ok {
		refused.clock = true
		refused.serverTime = serverTime(answer.Header.Get("Date"), clock)
	}
	return refused
}

// serverTime prefers the header, which has one format everywhere, over the
// sentence, which is written as in the United States.
func serverTime(header, sentence string) time.Time {
	if t, err := http.ParseTime(header); err == nil {
		return t
	}
	sentence = strings.TrimRight(strings.TrimSpace(sentence), ".")
	for _, layout := range []string{"01/02/2006 15:04:05", "1/2/2006 3:04:05 PM"} {
		if t, err := time.Parse(layout, sentence); err == nil {
			return t
		}
	}
	return time.Time{}
}

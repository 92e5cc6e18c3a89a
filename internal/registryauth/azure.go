package registryauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/docker/cli/cli/config/types"

	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// registryScope is Azure's registries, with what their roles allow the identity.
	registryScope = "https://containerregistry.azure.net/.default"
	// TokenUser is the user that a token of a registry of Azure is the password of
	// (https://learn.microsoft.com/azure/container-registry/container-registry-authentication).
	TokenUser = "00000000-0000-0000-0000-000000000000"
	// maxExchange is what is read of an answer; a token is a few kilobytes.
	maxExchange = 1 << 20
)

// managementScopes are Azure's resource managers by the ending of a registry's
// name. A registry takes their tokens too; tenants that do not know the scope of
// registries know these.
var managementScopes = map[string]string{
	"io": "https://management.azure.com/.default", "us": "https://management.usgovcloudapi.net/.default",
	"cn": "https://management.chinacloudapi.cn/.default", "de": "https://management.microsoftazure.de/.default",
}

// noSuchResource is the number of the AADSTS error for a scope that a tenant does
// not know.
const noSuchResource = 500011

// source returns the agent's identity for a scope.
func (c *Cloud) source(scope string) (*entra.Source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.sources[scope]; ok {
		return s, nil
	}
	s, err := c.entraSource(c.options.Entra, scope)
	if err == nil {
		c.sources[scope] = s
	}
	return s, err
}

func (c *Cloud) entraSource(config entra.Config, scope string) (*entra.Source, error) {
	return entra.New(config, entra.Options{HTTP: c.options.HTTP, Log: c.options.Log, Scope: scope, Retries: 1, RetryPause: time.Second})
}

// azure enters a registry of Azure with the agent's identity.
func (c *Cloud) azure(ctx context.Context, host string) (answer, error) {
	token, way, err := c.signIn(ctx, host, c.source)
	if err != nil {
		if _, refused := errors.AsType[*entra.RefusedError](err); !refused && c.options.Entra.Shared() && ctx.Err() == nil {
			err = &absentError{err.Error()}
		}
		return answer{}, err
	}
	refresh, err := c.exchange(ctx, host, c.options.Entra.TenantID, token)
	if err != nil {
		return answer{}, err
	}
	return answer{
		source: "Entra identity (" + way + ")", ends: readClaims(refresh.Reveal()).ends(),
		conf: types.AuthConfig{Username: TokenUser, IdentityToken: refresh.Reveal()},
	}, nil
}

// signIn gets a token of Microsoft Entra that a registry takes, from one of the
// sources by scope, and says how.
func (c *Cloud) signIn(ctx context.Context, host string, source func(scope string) (*entra.Source, error)) (mask.Secret, string, error) {
	s, err := source(registryScope)
	if err != nil {
		return mask.Secret{}, "", err
	}
	token, err := s.Token(ctx)
	if refused, ok := errors.AsType[*entra.RefusedError](err); ok && refused.Number == noSuchResource {
		management, serr := source(managementScopes[host[strings.LastIndexByte(host, '.')+1:]])
		if serr != nil {
			return mask.Secret{}, "", serr
		}
		s = management
		token, err = s.Token(ctx)
	}
	return token, s.Way(), err
}

// Principal is the service principal of a service connection.
type Principal struct {
	TenantID, ClientID string
	Key                mask.Secret
	Authority          string // https address of Microsoft Entra; empty is the public cloud's
}

// Login enters a registry of Azure as p and returns the password of [TokenUser],
// which lives for hours and is good for that registry only.
func (c *Cloud) Login(ctx context.Context, registry string, p Principal) (mask.Secret, error) {
	host := strings.ToLower(registry)
	if c == nil || !IsAzure(host) {
		panic("registryauth: logging in to " + registry + " with a principal of Azure") // callers ask IsAzure
	}
	ctx, cancel := context.WithTimeoutCause(ctx, identityTimeout, fmt.Errorf("entering %s took longer than %s", host, identityTimeout))
	defer cancel()
	config := entra.Config{TenantID: p.TenantID, ClientID: p.ClientID, ClientSecret: p.Key, AuthorityHost: p.Authority, Credential: "ClientSecretCredential"}
	token, _, err := c.signIn(ctx, host, func(scope string) (*entra.Source, error) { return c.entraSource(config, scope) })
	if err != nil {
		// The hints are for the settings of the agent, which are not at fault.
		return mask.Secret{}, errors.New(err.Error())
	}
	return c.exchange(ctx, host, p.TenantID, token)
}

// IsAzure reports whether a registry is one of Azure.
func IsAzure(registry string) bool { return kindOf(strings.ToLower(registry)) == azure }

// ExchangeError says that a registry of Azure gives an identity no token. It
// carries no text of the answer, which may repeat what was sent.
type ExchangeError struct {
	Registry string
	Status   int    // of HTTP
	Code     string // the registry's, as in "UNAUTHORIZED"; may be empty
}

// Error names the codes.
func (e *ExchangeError) Error() string {
	return strings.TrimRight(fmt.Sprintf("%s refused with status %d, %s", e.Registry, e.Status, e.Code), ", ")
}

// Temporary reports whether a later attempt may succeed.
func (e *ExchangeError) Temporary() bool {
	return e.Status/100 == 5 || e.Status == http.StatusTooManyRequests
}

// exchange turns a token of Microsoft Entra into a refresh token of a registry.
func (c *Cloud) exchange(ctx context.Context, host, tenant string, token mask.Secret) (refresh mask.Secret, err error) {
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {token.Reveal()}}
	if tenant == "" {
		tenant = readClaims(token.Reveal()).Tenant // a managed identity's is nobody's to set
	}
	if tenant != "" {
		form.Set("tenant", tenant)
	}
	again := retry.Policy{Attempts: 3, First: 500 * time.Millisecond, Max: 2 * time.Second, Retryable: func(err error) bool {
		refused, ok := errors.AsType[*ExchangeError](err)
		return !ok || refused.Temporary()
	}}
	err = retry.Do(ctx, again, func(ctx context.Context) error {
		refresh, err = c.exchangeOnce(ctx, host, form)
		return err
	})
	if err != nil {
		err = fmt.Errorf("exchanging a Microsoft Entra token for one of %s: %w", host, err)
		if refused, ok := errors.AsType[*ExchangeError](err); ok && !refused.Temporary() {
			err = hint.With(err, "give the identity the role AcrPull, and AcrPush where it has to push, on the registry %s", host)
		}
		return mask.Secret{}, err
	}
	return refresh, nil
}

func (c *Cloud) exchangeOnce(ctx context.Context, host string, form url.Values) (mask.Secret, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/oauth2/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return mask.Secret{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the rest repeats the address
		}
		return mask.Secret{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExchange))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return mask.Secret{}, fmt.Errorf("reading the answer: %w", err)
	}
	return readExchange(host, resp.StatusCode, body)
}

// errorCode is what the code of a registry's error looks like; anything else is
// not quoted.
var errorCode = regexp.MustCompile(`^[A-Z_]{1,64}$`)

// readExchange takes the token, or the code of the refusal, from an answer.
func readExchange(host string, status int, body []byte) (mask.Secret, error) {
	var given struct {
		RefreshToken string `json:"refresh_token"`
		Errors       []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	err := json.Unmarshal(body, &given)
	switch {
	case status != http.StatusOK:
		refused := &ExchangeError{Registry: host, Status: status}
		if err == nil && len(given.Errors) > 0 && errorCode.MatchString(given.Errors[0].Code) {
			refused.Code = given.Errors[0].Code
		}
		return mask.Secret{}, refused
	case err != nil || given.RefreshToken == "":
		return mask.Secret{}, errors.New("the answer has no token")
	}
	return mask.NewSecret(given.RefreshToken), nil
}

// webToken is what a token with claims looks like.
var webToken = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}(\.[A-Za-z0-9_-]*){0,2}`)

// claims are what a token says of itself. Nobody has checked its signature, so
// they decide no more than when to fetch another.
type claims struct {
	Expires float64 `json:"exp"` // seconds since 1970
	Tenant  string  `json:"tid"`
}

// ends is when the token ends; zero when it does not say so.
func (c claims) ends() time.Time {
	if c.Expires <= 0 || c.Expires > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(c.Expires), 0)
}

// readClaims reads what it can; a token without claims has none.
func readClaims(token string) claims {
	var c claims
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil || json.NewDecoder(bytes.NewReader(text)).Decode(&c) != nil {
		return claims{}
	}
	return c
}

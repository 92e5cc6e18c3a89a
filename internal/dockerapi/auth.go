package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// loginTimeout bounds one login at a registry.
const loginTimeout = 30 * time.Second

var errLoginTimeout = fmt.Errorf("the registry did not answer within %s", loginTimeout)

// auth answers /auth: whether a registry takes these credentials. Podman is asked
// unless it is a registry without TLS, of which only we know.
func (s *Server) auth(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	registry := strings.TrimPrefix(strings.TrimPrefix(body.text("serveraddress"), "http://"), "https://")
	registry, _, _ = strings.Cut(registry, "/")
	if !s.plain(registry) {
		c.send(body)
		return s.forward(c, nil)
	}
	err = login(c.r.Context(), registry, authn.AuthConfig{
		Username: body.text("username"), Password: body.text("password"), IdentityToken: body.text("identitytoken"),
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, map[string]string{"Status": "Login Succeeded", "IdentityToken": ""})
	return nil
}

// login asks an insecure registry for its root with the credentials.
func login(ctx context.Context, registry string, credentials authn.AuthConfig) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loginTimeout, errLoginTimeout)
	defer cancel()
	reg, err := name.NewRegistry(registry, name.Insecure)
	if err != nil {
		return &refusal{http.StatusBadRequest, fmt.Sprintf("%q is no registry", registry)}
	}
	base := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true}
	rt, err := transport.NewWithContext(ctx, reg, authn.FromConfig(credentials), base, nil)
	if err == nil {
		var req *http.Request
		if req, err = http.NewRequestWithContext(ctx, http.MethodGet, reg.Scheme()+"://"+registry+"/v2/", nil); err == nil { //nolint:gosec // a registry that the operator named, or one on this host
			err = answered(rt.RoundTrip(req))
		}
	}
	var refused *transport.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.StatusCode == http.StatusUnauthorized:
		return &refusal{http.StatusUnauthorized, "login attempt to " + registry + " failed with status: 401 Unauthorized"}
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return &refusal{http.StatusInternalServerError, fmt.Sprintf("login attempt to %s failed: %v", registry, err)}
}

// answered turns an answer that is no success into an error.
func answered(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(transport.CheckError(resp, http.StatusOK), resp.Body.Close())
}

package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/registryauth"
)

// parameter returns the first of the named parameters that a service connection
// has.
func parameter(e job.Endpoint, names ...string) string {
	for _, name := range names {
		if v, _ := job.Lookup(e.Authorization.Parameters, name); v != "" {
			return v
		}
	}
	return ""
}

// azureRegistry is a registry of Azure that a connection to a subscription leads
// to. The connection's key opens more than the registry, so it is no password of
// it: a step that enters the registry exchanges it for one.
func (x *execution) azureRegistry(e job.Endpoint, host string) (*registry, error) {
	key := parameter(e, "serviceprincipalkey")
	switch {
	case !registryauth.IsAzure(host):
		return nil, hint.With(fmt.Errorf("the service connection %s is one to Azure, and %s is no registry of Azure", e.Name, host),
			"name the registry, as in team.azurecr.io, beside the connection, or use a connection of type Docker Registry")
	case key == "" || !strings.EqualFold(e.Authorization.Scheme, "ServicePrincipal"):
		return x.keylessRegistry(e, host)
	}
	authority, _ := job.Lookup(e.Data, "environmentAuthorityUrl")
	return &registry{host: host, principal: &registryauth.Principal{
		TenantID: parameter(e, "tenantid"), ClientID: parameter(e, "serviceprincipalid"), Key: mask.NewSecret(key),
		Authority: cmp.Or(authority, parameter(e, "authorityurl")),
	}}, nil
}

// keylessRegistry is the registry of a connection that has no password for it:
// one that the agent's own identity opens, or an error that says what to do.
func (x *execution) keylessRegistry(e job.Endpoint, host string) (*registry, error) {
	err := fmt.Errorf("the service connection %s is entered by %s, which this agent does not know for registries", e.Name, e.Authorization.Scheme)
	advice := "use a connection with a user name and a password or a service principal's key"
	switch strings.ToLower(e.Authorization.Scheme) {
	case "managedserviceidentity":
		if registryauth.IsAzure(host) && x.cfg.Registries.Allows(host) {
			return &registry{host: host, keyless: true}, nil // builds ask the agent, which keeps its tokens
		}
		advice = fmt.Sprintf("name %s in DOCKLESS_REGISTRY_IDENTITY, so that builds enter it with the identity of the agent, or %s", host, advice)
	case "workloadidentityfederation":
		advice = fmt.Sprintf("%s, or leave the connection out and name %s in DOCKLESS_REGISTRY_IDENTITY, so that builds enter it with the identity of the agent", advice, host)
	}
	return nil, hint.With(err, "%s", advice)
}

// enter gets the password of a registry for a service principal. It lives for
// some hours, and the log never shows it.
func (x *execution) enter(ctx context.Context, r *registry) error {
	if r.principal == nil {
		return nil
	}
	if x.cfg.Registries == nil {
		return errors.New("this agent cannot sign in to Azure")
	}
	password, err := x.cfg.Registries.Login(ctx, r.host, *r.principal)
	if err != nil {
		return hint.With(fmt.Errorf("logging in to %s: %w", r.host, err), "check the service principal of the connection: its key may have expired")
	}
	x.masks.Add(password.Reveal())
	r.user, r.password = registryauth.TokenUser, password.Reveal()
	return nil
}

// identify gets the password of a registry that the identity of the agent opens, for
// Podman, which cannot ask the agent as builds do.
func (x *execution) identify(ctx context.Context, r *registry) error {
	auth, err := (*registryauth.Auth)(nil).With(x.cfg.Registries)
	if err != nil {
		return err
	}
	user, password, err := auth.Basic(ctx, r.host)
	if err == nil && password.Reveal() == "" {
		err = errors.New("the agent has no identity for it")
	}
	if err != nil {
		return hint.With(fmt.Errorf("logging in to %s: %w", r.host, err), "check that the identity of the agent may pull from it")
	}
	x.masks.Add(password.Reveal())
	r.user, r.password = user, password.Reveal()
	return nil
}

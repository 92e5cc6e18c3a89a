package agent

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
)

// registered is an agent that the service knows, and the ways to speak with it.
type registered struct {
	admin      *ado.Registration
	pool       ado.Pool
	agent      ado.TaskAgent
	offered    map[string]string // capabilities
	polls      *ado.Client       // for the long poll
	client     *ado.Client       // for everything else
	options    ado.Options
	onPremises bool
}

// register adds the agent to its pool or takes the place of one with its name.
// The key, which may have to be made, is got ready meanwhile. Polls have
// connections of their own, so that a broken one does not close those of
// renewals.
func (a *Agent) register(ctx context.Context, connections, pollConnections http.RoundTripper) (*registered, error) {
	r := &registered{options: ado.Options{
		HTTP: connections, Log: a.log, UserAgent: a.deps.Product,
		Timeout: ado.DefaultTimeout, Retries: ado.DefaultRetries, RetryPause: a.timings.retryPause,
	}}
	var err error
	if a.config.UsesAzure() {
		r.admin, err = ado.NewAzureRegistration(a.config.URL, a.deps.Tokens, r.options)
	} else {
		r.admin, err = ado.NewRegistration(a.config.URL, a.config.Token, r.options)
	}
	if err != nil {
		return nil, err
	}
	var (
		key      *rsa.PrivateKey
		server   ado.ConnectionData
		existing ado.TaskAgent
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		key, err = a.state.key()
		return err
	})
	g.Go(func() (err error) {
		server, err = r.admin.Connect(gctx)
		return err
	})
	g.Go(func() (err error) {
		if r.pool, err = r.admin.FindPool(gctx, a.config.Pool); err != nil {
			return err
		}
		existing, err = r.admin.FindAgent(gctx, r.pool.ID, a.config.Name)
		if errors.Is(err, ado.ErrAgentNotFound) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		r.offered = a.capabilities()
		return nil
	})
	a.deps.Health.poll()
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("registering: %w", err)
	}
	r.onPremises = server.DeploymentType == ado.OnPremises
	if r.agent, err = a.store(ctx, r, existing, key); err != nil {
		return nil, fmt.Errorf("registering: %w", err)
	}
	a.log.InfoContext(ctx, "agent registered", "agent", r.agent.Name, "agent_id", r.agent.ID, "pool", r.pool.Name, "pool_id", r.pool.ID)
	return r, a.enter(r, key, pollConnections)
}

// store adds the agent, or puts it in the place of existing, of which everything
// that is not ours is kept (protocol §2.6).
func (a *Agent) store(ctx context.Context, r *registered, existing ado.TaskAgent, key *rsa.PrivateKey) (ado.TaskAgent, error) {
	agent := existing
	agent.Name = a.config.Name
	agent.Version = Version
	agent.OSDescription = a.osDescription()
	agent.MaxParallelism = 1
	agent.ProvisioningState = ado.AgentStateProvisioned
	agent.Authorization = &ado.AgentAuthorization{PublicKey: ado.PublicKeyOf(key)}
	agent.SystemCapabilities = maps.Clone(existing.SystemCapabilities)
	if agent.SystemCapabilities == nil {
		agent.SystemCapabilities = make(map[string]string, len(r.offered))
	}
	maps.Copy(agent.SystemCapabilities, r.offered)
	if existing.ID == 0 {
		return r.admin.AddAgent(ctx, r.pool.ID, agent)
	}
	return r.admin.ReplaceAgent(ctx, r.pool.ID, agent)
}

// enter makes the clients that use the agent's own key.
func (a *Agent) enter(r *registered, key *rsa.PrivateKey, pollConnections http.RoundTripper) (err error) {
	c := ado.Credentials{
		ClientID: r.agent.Authorization.ClientID, Audience: r.agent.Authorization.AuthorizationURL,
		Endpoint: r.agent.Authorization.AuthorizationURL, Key: key,
	}
	if r.onPremises {
		c.Endpoint = ado.AtConfiguredHost(c.Endpoint, a.config.URL)
	}
	if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" {
		return errors.New("registering: the server named a token endpoint that is not a URL")
	}
	r.options.Timeout = a.timings.request
	tokens := ado.NewTokenSource(c, r.options)
	address := r.agent.ServerURL(a.config.URL)
	if r.client, err = ado.NewClient(address, r.pool.ID, tokens, r.options); err != nil {
		return err
	}
	poll := r.options
	poll.Timeout = a.timings.poll
	poll.HTTP = pollConnections
	r.polls, err = ado.NewClient(address, r.pool.ID, tokens, poll)
	return err
}

// advised attaches what an operator can do about an error of a session.
func advised(err error) error {
	switch {
	case errors.Is(err, ado.ErrSessionConflict):
		return hint.With(err, "stop the other agent of this name, or set AZP_AGENT_NAME to a name of its own")
	case errors.Is(err, ado.ErrClockSkew):
		return hint.With(err, "set this machine's clock")
	case errors.Is(err, ado.ErrUnauthorized):
		return hint.With(err, "another process may have taken the agent's place: set AZP_AGENT_NAME to a name of its own, and start again")
	case errors.Is(err, ado.ErrAgentNotFound), errors.Is(err, ado.ErrPoolNotFound), errors.Is(err, ado.ErrAccessDenied):
		return hint.With(err, "the agent was removed or its pool changed: check AZP_POOL and start again to register anew")
	}
	return err
}

package agent

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
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
	key        *rsa.PrivateKey
	tookJob    bool // of Config.Once: its one job has arrived
}

// register adds the agent to its pool or takes the place of one with its name.
// The key, which may have to be made, is got ready meanwhile. Polls have
// connections of their own, so that a broken one does not close those of
// renewals.
func (a *Agent) register(ctx context.Context, connections, pollConnections http.RoundTripper) (*registered, error) {
	r := &registered{options: a.requestOptions(connections)}
	var err error
	if r.admin, err = a.admin(r.options); err != nil {
		return nil, err
	}
	var (
		server   ado.ConnectionData
		existing ado.TaskAgent
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		r.key, err = a.state.key()
		return err
	})
	g.Go(func() (err error) {
		server, err = r.admin.Connect(gctx)
		return err
	})
	g.Go(func() (err error) {
		if r.pool, err = a.findPool(gctx, r.admin); err != nil {
			return err
		}
		existing, err = r.admin.FindAgent(gctx, r.pool.ID, a.config.Name)
		if errors.Is(err, ado.ErrAgentNotFound) {
			return nil
		}
		return err
	})
	g.Go(func() error {
		r.offered = a.capabilities(gctx)
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("registering: %w", err)
	}
	r.onPremises = server.DeploymentType == ado.OnPremises
	if r.agent, err = a.store(ctx, r, existing); err != nil {
		return nil, fmt.Errorf("registering: %w", err)
	}
	if err := a.state.settle(place{Server: a.config.URL, PoolName: a.config.Pool, PoolID: r.pool.ID}); err != nil {
		return nil, err
	}
	a.log.InfoContext(ctx, "agent registered", "agent", r.agent.Name, "agent_id", r.agent.ID, "pool", r.pool.Name, "pool_id", r.pool.ID)
	return r, a.enter(r, pollConnections)
}

// findPool finds the pool of the settings. One that is not there by its name, but
// still by the id that an earlier start of this agent learned, was renamed.
func (a *Agent) findPool(ctx context.Context, admin *ado.Registration) (ado.Pool, error) {
	pool, err := admin.FindPool(ctx, a.config.Pool)
	if !errors.Is(err, ado.ErrPoolNotFound) {
		return pool, err
	}
	known, ok := a.state.placed()
	if !ok || known.Server != a.config.URL || known.PoolName != a.config.Pool {
		return pool, err
	}
	renamed, ferr := admin.FindPoolByID(ctx, known.PoolID)
	if ferr != nil {
		return pool, err // what the operator typed is what is wrong
	}
	a.log.WarnContext(ctx, "the pool was renamed: set AZP_POOL to its new name", "pool", a.config.Pool, "pool_name", renamed.Name, "pool_id", renamed.ID)
	return renamed, nil
}

// store adds the agent, or puts it in the place of existing, of which everything
// that is not ours is kept (protocol §2.6).
func (a *Agent) store(ctx context.Context, r *registered, existing ado.TaskAgent) (ado.TaskAgent, error) {
	stored, err := a.put(ctx, r.admin, r.pool.ID, a.describe(r, existing), existing)
	if !errors.Is(err, ado.ErrAgentExists) {
		return stored, err
	}
	// Somebody was faster, or an answer was lost and we were it.
	if existing, err = r.admin.FindAgent(ctx, r.pool.ID, a.config.Name); err != nil {
		return ado.TaskAgent{}, err
	}
	return a.put(ctx, r.admin, r.pool.ID, a.describe(r, existing), existing)
}

// describe returns existing as it becomes when it is us.
func (a *Agent) describe(r *registered, existing ado.TaskAgent) ado.TaskAgent {
	agent := existing
	agent.Name = a.config.Name
	agent.Version = Version
	agent.OSDescription = a.osDescription()
	agent.MaxParallelism = 1
	agent.ProvisioningState = ado.AgentStateProvisioned
	agent.Authorization = &ado.AgentAuthorization{PublicKey: ado.PublicKeyOf(r.key)}
	agent.UserCapabilities = nil // they have a call of their own, and a copy would undo it
	agent.SystemCapabilities = merged(existing.SystemCapabilities, r.offered)
	return agent
}

// enter makes the clients that use the agent's own key.
func (a *Agent) enter(r *registered, pollConnections http.RoundTripper) (err error) {
	c := ado.Credentials{
		ClientID: r.agent.Authorization.ClientID, Audience: r.agent.Authorization.AuthorizationURL,
		Endpoint: r.agent.Authorization.AuthorizationURL, Key: r.key,
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

package ado

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Registration speaks with the administrator's credential (protocol §2). Its
// methods may be called concurrently.
type Registration struct {
	conn  *connection
	azure bool // entered with the tokens of an Azure identity
}

// NewRegistration returns a client for the server at address, entered with a
// personal access token. It does not connect.
func NewRegistration(address string, token mask.Secret, o Options) (*Registration, error) {
	return newRegistration(address, basic{token}, o)
}

// NewAzureRegistration is [NewRegistration] with the tokens of an Azure
// identity, fetched when they are needed.
func NewAzureRegistration(address string, tokens BearerTokens, o Options) (*Registration, error) {
	r, err := newRegistration(address, renewing{tokens}, o)
	if err == nil {
		r.azure = true
	}
	return r, err
}

func newRegistration(address string, auth authorizer, o Options) (*Registration, error) {
	conn, err := newConnection(address, auth, o)
	if err != nil {
		return nil, hint.With(err, "set AZP_URL to your organization's address, for example https://dev.azure.com/contoso")
	}
	return &Registration{conn: conn}, nil
}

// Connect proves that the credential works. It returns [ErrUnauthorized] when it
// does not.
func (r *Registration) Connect(ctx context.Context) (ConnectionData, error) {
	data, err := r.conn.connect(ctx)
	return data, r.advised(err)
}

// FindPool returns the pool called name, or [ErrPoolNotFound].
func (r *Registration) FindPool(ctx context.Context, name string) (Pool, error) {
	var pools List[Pool]
	_, err := r.conn.do(ctx, call{
		method: http.MethodGet, location: LocationPools, version: versionPools,
		query: url.Values{"poolName": {name}, "poolType": {string(Automation)}},
	}, &pools)
	if err == nil && len(pools.Value) == 0 {
		err = ErrPoolNotFound
	}
	if err != nil {
		return Pool{}, r.advised(fmt.Errorf("looking for pool %q: %w", name, err))
	}
	return pools.Value[0], nil
}

// FindPoolByID returns the pool with this id, whatever it is called now, or
// [ErrPoolNotFound].
func (r *Registration) FindPoolByID(ctx context.Context, id PoolID) (Pool, error) {
	var pools List[Pool]
	_, err := r.conn.do(ctx, call{
		method: http.MethodGet, location: LocationPools, version: versionPools,
		query: url.Values{"poolIds": {strconv.Itoa(int(id))}},
	}, &pools)
	if err == nil && (len(pools.Value) == 0 || pools.Value[0].ID != id) {
		err = ErrPoolNotFound
	}
	if err != nil {
		return Pool{}, r.advised(fmt.Errorf("looking for pool %d: %w", id, err))
	}
	return pools.Value[0], nil
}

// FindAgent returns the agent called name, or [ErrAgentNotFound].
func (r *Registration) FindAgent(ctx context.Context, pool PoolID, name string) (TaskAgent, error) {
	var agents List[TaskAgent]
	_, err := r.conn.do(ctx, call{
		method: http.MethodGet, location: LocationAgents, version: versionPools, route: agentRoute(pool, 0),
		query: url.Values{"agentName": {name}, "includeCapabilities": {"true"}},
	}, &agents)
	if err == nil && len(agents.Value) == 0 {
		err = ErrAgentNotFound
	}
	if err != nil {
		return TaskAgent{}, r.advised(fmt.Errorf("looking for agent %q: %w", name, err))
	}
	return agents.Value[0], nil
}

// AddAgent registers agent and returns it with its id and authorization. It
// returns [ErrAgentExists] when the name is taken.
func (r *Registration) AddAgent(ctx context.Context, pool PoolID, agent TaskAgent) (TaskAgent, error) {
	return r.store(ctx, call{method: http.MethodPost, route: agentRoute(pool, 0), body: agent}, "adding agent %q: %w", agent.Name)
}

// ReplaceAgent takes the place of a registered agent, key included: an older
// process with the old key is locked out (protocol §2.6).
func (r *Registration) ReplaceAgent(ctx context.Context, pool PoolID, agent TaskAgent) (TaskAgent, error) {
	return r.store(ctx, call{method: http.MethodPut, route: agentRoute(pool, agent.ID), body: agent}, "replacing agent %q: %w", agent.Name)
}

func (r *Registration) store(ctx context.Context, c call, deed, name string) (TaskAgent, error) {
	c.location, c.version = LocationAgents, versionPools
	var stored TaskAgent
	_, err := r.conn.do(ctx, c, &stored)
	if a := stored.Authorization; err == nil && (stored.ID == 0 || a == nil || a.ClientID == "" || a.AuthorizationURL == "") {
		err = errors.New("the answer lacks the agent's id or its authorization")
	}
	if err != nil {
		return TaskAgent{}, r.advised(fmt.Errorf(deed, name, err))
	}
	return stored, nil
}

// DeleteAgent unregisters agent. An agent that does not exist is no error.
func (r *Registration) DeleteAgent(ctx context.Context, pool PoolID, agent AgentID) error {
	_, err := r.conn.do(ctx, call{
		method: http.MethodDelete, location: LocationAgents, version: versionPools, route: agentRoute(pool, agent),
	}, nil)
	if err == nil || errors.Is(err, ErrAgentNotFound) {
		return nil
	}
	return r.advised(fmt.Errorf("deleting agent %d: %w", agent, err))
}

// advised attaches what an operator can do about err.
func (r *Registration) advised(err error) error {
	switch {
	case r.azure && errors.Is(err, ErrUnauthorized):
		return hint.With(err, "add the Azure identity to the organization's users, and check that AZURE_TENANT_ID is the tenant that the organization is connected to")
	case r.azure && errors.Is(err, ErrAccessDenied):
		return hint.With(err, "give the Azure identity the role Administrator on the pool that AZP_POOL names")
	case r.azure && errors.Is(err, ErrPoolNotFound):
		return hint.With(err, "set AZP_POOL to an existing pool that the Azure identity may see")
	case errors.Is(err, ErrUnauthorized):
		return hint.With(err, `set AZP_TOKEN to a personal access token that has not expired, with the scope "Agent Pools (read & manage)"`)
	case errors.Is(err, ErrAccessDenied):
		return hint.With(err, "give the owner of AZP_TOKEN the role Administrator on the pool that AZP_POOL names")
	case errors.Is(err, ErrPoolNotFound):
		return hint.With(err, "set AZP_POOL to an existing pool that the owner of AZP_TOKEN may see")
	}
	return unreachable(err)
}

// unreachable advises on an address that does not answer.
func unreachable(err error) error {
	if _, broken := errors.AsType[*connectionError](err); broken {
		return hint.With(err, "check that AZP_URL names the server and that this machine reaches it, through HTTPS_PROXY if it has to")
	}
	if status, ok := errors.AsType[*StatusError](err); ok && status.Code == http.StatusNotFound && status.TypeKey == "" {
		return hint.With(err, "check that AZP_URL names an organization or collection, for example https://dev.azure.com/contoso")
	}
	return err
}

func agentRoute(pool PoolID, agent AgentID) map[string]string {
	route := map[string]string{"poolId": strconv.Itoa(int(pool))}
	if agent != 0 {
		route["agentId"] = strconv.Itoa(int(agent))
	}
	return route
}

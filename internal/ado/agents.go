package ado

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
)

// LocationUserCapabilities names the capabilities that an administrator gives
// one agent (protocol §2.7).
const LocationUserCapabilities LocationID = "30ba3ada-fedf-4da8-bbb5-dacf2f82e176"

// whole asks for everything that is known of an agent.
func whole() url.Values {
	return url.Values{"includeCapabilities": {"true"}, "includeAssignedRequest": {"true"}}
}

// Agents returns all agents of pool with their capabilities and the request
// that each has been assigned.
func (r *Registration) Agents(ctx context.Context, pool PoolID) ([]TaskAgent, error) {
	var agents List[TaskAgent]
	_, err := r.conn.do(ctx, call{
		method: http.MethodGet, location: LocationAgents, version: versionPools, route: agentRoute(pool, 0), query: whole(),
	}, &agents)
	if err != nil {
		return nil, r.advised(fmt.Errorf("listing the agents of pool %d: %w", pool, err))
	}
	return agents.Value, nil
}

// Agent returns one agent as [Registration.Agents] does, or [ErrAgentNotFound].
func (r *Registration) Agent(ctx context.Context, pool PoolID, id AgentID) (TaskAgent, error) {
	var agent TaskAgent
	found, err := r.conn.do(ctx, call{
		method: http.MethodGet, location: LocationAgents, version: versionPools, route: agentRoute(pool, id), query: whole(),
	}, &agent)
	switch {
	case err == nil && !found:
		err = ErrAgentNotFound
	case err == nil && agent.ID != id:
		err = errors.New("the answer is about another agent")
	}
	if err != nil {
		return TaskAgent{}, r.advised(fmt.Errorf("looking at agent %d: %w", id, err))
	}
	return agent, nil
}

// SetUserCapabilities replaces the user capabilities of an agent as a whole
// (protocol §2.7). It returns [ErrAccessDenied] when the credential's owner is
// no administrator of the pool.
func (r *Registration) SetUserCapabilities(ctx context.Context, pool PoolID, id AgentID, capabilities map[string]string) error {
	body := make(map[string]string, len(capabilities)) // never null: no capabilities is an empty object
	maps.Copy(body, capabilities)
	_, err := r.conn.do(ctx, call{
		method: http.MethodPut, location: LocationUserCapabilities, version: versionPools, route: agentRoute(pool, id), body: body,
	}, nil)
	if err != nil {
		return r.advised(fmt.Errorf("setting the user capabilities of agent %d: %w", id, err))
	}
	return nil
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// PlaceholderName is the name of a placeholder that the settings do not name.
const PlaceholderName = "dockless-placeholder"

// placeholderTimeout bounds [Agent.Placeholder]: four requests, each with its
// repetitions, and a key.
const placeholderTimeout = 2 * time.Minute

var errPlaceholderTimeout = fmt.Errorf("registering the placeholder took longer than %s", placeholderTimeout)

// Placeholder is a registration that stands for agents to come.
type Placeholder struct {
	Name             string            `json:"name"`
	ID               ado.AgentID       `json:"id"`
	Pool             string            `json:"pool"`
	PoolID           ado.PoolID        `json:"poolId"`
	Action           string            `json:"action"`  // added, updated or unchanged
	Enabled          bool              `json:"enabled"` // false: somebody disabled it, and jobs do not queue for it
	Capabilities     map[string]string `json:"capabilities"`
	UserCapabilities map[string]string `json:"userCapabilities"`
}

// Placeholder registers an agent that never opens a session, or brings it up to
// date, and returns what is registered. A pool without any agent that meets a
// job's demands refuses the job; one that has an offline agent lets it wait, and
// an autoscaler can name that one as the template of those it starts.
//
// It offers what this agent would, and what the fleet's other agents do: a name
// that several of them know with different values keeps ours, else the value of
// the first by name. Its key is thrown away, so nothing can ever enter as it.
//
// It refuses to take the place of an agent that is no placeholder, whether online
// or not, and of another fleet's placeholder.
func (a *Agent) Placeholder(ctx context.Context) (Placeholder, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, placeholderTimeout, errPlaceholderTimeout)
	defer cancel()
	connections := a.deps.Network.NewHTTP()
	defer connections.CloseIdleConnections()
	admin, err := a.admin(a.requestOptions(connections))
	if err != nil {
		return Placeholder{}, err
	}
	pool, err := admin.FindPool(ctx, a.config.Pool)
	if err != nil {
		return Placeholder{}, fmt.Errorf("registering a placeholder: %w", err)
	}
	p, err := a.placeholder(ctx, admin, pool)
	if errors.Is(err, ado.ErrAgentExists) {
		// Another process was registering it at the same moment.
		p, err = a.placeholder(ctx, admin, pool)
	}
	if err != nil {
		return Placeholder{}, fmt.Errorf("registering a placeholder: %w", err)
	}
	a.log.InfoContext(ctx, "placeholder registered", "agent", p.Name, "agent_id", p.ID, "pool", p.Pool, "action", p.Action)
	return p, nil
}

func (a *Agent) placeholder(ctx context.Context, admin *ado.Registration, pool ado.Pool) (Placeholder, error) {
	all, err := admin.Agents(ctx, pool.ID)
	if err != nil {
		return Placeholder{}, err
	}
	var existing ado.TaskAgent
	if i := slices.IndexFunc(all, func(t ado.TaskAgent) bool { return strings.EqualFold(t.Name, a.config.Name) }); i >= 0 {
		existing = all[i]
	}
	if err := a.mayReplace(existing); err != nil {
		return Placeholder{}, err
	}
	agent := existing
	agent.Name, agent.Version, agent.OSDescription = a.config.Name, Version, a.osDescription()
	agent.MaxParallelism, agent.ProvisioningState = 1, ado.AgentStateProvisioned
	agent.UserCapabilities = nil // they have a call of their own, and a copy would undo it
	agent.SystemCapabilities = a.placeholderCapabilities(ctx, all)
	if existing.ID == 0 {
		enabled := true
		agent.Enabled = &enabled
	}
	p := Placeholder{
		Name: agent.Name, ID: agent.ID, Pool: pool.Name, PoolID: pool.ID, Action: "added",
		Enabled: agent.Enabled == nil || *agent.Enabled, Capabilities: agent.SystemCapabilities,
	}
	wanted, err := a.wantedUserCapabilities(existing)
	if err != nil {
		return Placeholder{}, err
	}
	p.UserCapabilities = wanted
	if existing.ID != 0 {
		p.Action = "updated"
		if sameRegistration(agent, existing) && maps.Equal(wanted, existing.UserCapabilities) {
			p.Action = "unchanged"
			return p, nil
		}
	}
	key, err := ado.GenerateKey()
	if err != nil {
		return Placeholder{}, err
	}
	agent.Authorization = &ado.AgentAuthorization{PublicKey: ado.PublicKeyOf(key)}
	stored, err := a.put(ctx, admin, pool.ID, agent, existing)
	if err != nil {
		return Placeholder{}, err
	}
	p.ID = stored.ID
	return p, nil
}

// sameRegistration reports whether registering agent would change nothing that
// anybody can see.
func sameRegistration(agent, existing ado.TaskAgent) bool {
	return agent.Version == existing.Version && agent.OSDescription == existing.OSDescription &&
		maps.Equal(agent.SystemCapabilities, existing.SystemCapabilities)
}

// mayReplace refuses to make a placeholder of an agent that somebody needs.
func (a *Agent) mayReplace(existing ado.TaskAgent) error {
	if existing.ID == 0 {
		return nil
	}
	advice := "set AZP_AGENT_NAME to a name that no agent has"
	if existing.Status != ado.Offline {
		return hint.With(fmt.Errorf("agent %q is online and no placeholder", existing.Name), "%s", advice)
	}
	if !isPlaceholder(existing) {
		return hint.With(fmt.Errorf("agent %q is offline and no placeholder: it would lose its key", existing.Name), "%s", advice)
	}
	if existing.AssignedRequest != nil {
		return hint.With(fmt.Errorf("agent %q has request %d", existing.Name, existing.AssignedRequest.RequestID), "%s", advice)
	}
	if fleet, _ := job.Lookup(existing.SystemCapabilities, capabilityFleet); isPlaceholder(existing) && fleet != a.config.Fleet {
		return hint.With(fmt.Errorf("agent %q is the placeholder of fleet %q", existing.Name, fleet), "%s", advice)
	}
	return nil
}

// placeholderCapabilities are ours and those of the fleet's other agents, user
// capabilities that their settings gave them included. Placeholders among them
// do not count: they would remember for ever what no agent offers any more.
func (a *Agent) placeholderCapabilities(ctx context.Context, all []ado.TaskAgent) map[string]string {
	offered := newOffer()
	members := slices.SortedFunc(slices.Values(all), func(x, y ado.TaskAgent) int { return -strings.Compare(x.Name, y.Name) })
	for _, member := range members { // the last one wins, which is the first by name
		fleet, labelled := job.Lookup(member.SystemCapabilities, capabilityFleet)
		if !labelled || fleet != a.config.Fleet || isPlaceholder(member) || strings.EqualFold(member.Name, a.config.Name) {
			continue
		}
		set, _ := job.Lookup(member.SystemCapabilities, capabilitySet)
		for name := range strings.SplitSeq(set, ",") {
			if value, ok := job.Lookup(member.UserCapabilities, name); ok {
				offered.set(name, value)
			}
		}
		offered.setAll(member.SystemCapabilities)
	}
	offered.remove(capabilitySet) // ours comes with our own
	offered.setAll(a.capabilities(ctx))
	offered.set(capabilityPlaceholder, "true")
	return offered.values
}

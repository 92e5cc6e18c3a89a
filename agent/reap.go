package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// DefaultOfflineFor is how long an agent may be offline before [Agent.Reap]
// removes it. A pod whose node restarts, or that waits for its image, is back
// within a few minutes, and a request stays locked for ten after the last
// renewal (protocol §7.1): whoever is gone for longer will not come back.
const DefaultOfflineFor = 10 * time.Minute

// reapTimeout bounds [Agent.Reap] as a whole. An agent costs two requests, about
// a fifth of a second each: that is a thousand of them, and less than the pause
// of a CronJob.
const reapTimeout = 5 * time.Minute

var errReapTimeout = fmt.Errorf("reaping took longer than %s", reapTimeout)

// ReapOptions say which agents go. The zero value of OfflineFor removes those
// that have just gone offline, too.
type ReapOptions struct {
	OfflineFor time.Duration
	DryRun     bool // only tell
}

// Outcome is what became of an agent that [Agent.Reap] meant to remove.
type Outcome string

// The outcomes.
const (
	Removed     Outcome = "removed"
	WouldRemove Outcome = "would remove" // a dry run
	Gone        Outcome = "gone"         // somebody else removed it first
	Kept        Outcome = "kept"         // it changed between the first look and the second
	Failed      Outcome = "failed"
)

// Reaped is one agent that Reap meant to remove.
type Reaped struct {
	Name         string      `json:"name"`
	ID           ado.AgentID `json:"id"`
	OfflineSince time.Time   `json:"offlineSince"`
	Outcome      Outcome     `json:"outcome"`
	Reason       string      `json:"reason,omitempty"` // of Kept and Failed
}

// Reap removes the agents of the pool that belong to the fleet of the settings,
// have been offline for long enough, and have no request. Before each is
// removed, it is looked at again. Placeholders, agents of other fleets and agents
// that carry no label of ours stay, whatever their state.
//
// It goes on after a failure: the list is complete also when the error is not
// nil, which counts the failures and wraps the first of them. Any number of
// reapers may run at the same time. How long an agent was offline is judged by
// the server's clock.
func (a *Agent) Reap(ctx context.Context, o ReapOptions) ([]Reaped, error) {
	if a.config.Fleet == "" {
		return nil, hint.With(errors.New("reaping: no fleet is named"), "set DOCKLESS_FLEET, or --fleet, to the one whose agents may go")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reapTimeout, errReapTimeout)
	defer cancel()
	connections := a.deps.Network.NewHTTP()
	defer connections.CloseIdleConnections()
	options := a.requestOptions(connections)
	admin, err := a.admin(options)
	if err != nil {
		return nil, err
	}
	pool, err := admin.FindPool(ctx, a.config.Pool)
	if err != nil {
		return nil, fmt.Errorf("reaping: %w", err)
	}
	all, err := admin.Agents(ctx, pool.ID)
	if err != nil {
		return nil, fmt.Errorf("reaping: %w", err)
	}
	found := make([]Reaped, 0, len(all))
	var first error
	failures := 0
	for _, agent := range all {
		if a.whyKept(agent, o.OfflineFor, options.Clock.At(a.config.URL)) != "" {
			continue
		}
		r := Reaped{Name: agent.Name, ID: agent.ID, OfflineSince: offlineSince(agent)}
		if o.DryRun {
			r.Outcome = WouldRemove
		} else if r.Outcome, r.Reason, err = a.reap(ctx, admin, options.Clock, pool.ID, agent.ID, o.OfflineFor); err != nil {
			if failures++; first == nil {
				first = err
			}
			r.Outcome, r.Reason = Failed, err.Error()
		}
		a.log.InfoContext(ctx, "offline agent looked at", "agent", r.Name, "agent_id", r.ID, "offline_since", r.OfflineSince, "outcome", r.Outcome, "reason", r.Reason)
		found = append(found, r)
	}
	if first != nil {
		return found, fmt.Errorf("reaping: %d of %d agents could not be removed: %w", failures, len(found), first)
	}
	return found, nil
}

// reap removes one agent unless a second look finds a reason not to.
func (a *Agent) reap(ctx context.Context, admin *ado.Registration, clock *ado.Clock, pool ado.PoolID, id ado.AgentID, offlineFor time.Duration) (Outcome, string, error) {
	agent, err := admin.Agent(ctx, pool, id)
	if errors.Is(err, ado.ErrAgentNotFound) {
		return Gone, "", nil
	}
	if err != nil {
		return "", "", err
	}
	if why := a.whyKept(agent, offlineFor, clock.At(a.config.URL)); why != "" {
		return Kept, why, nil
	}
	// Between this look and the next line an agent may come back. It then finds
	// itself deleted and registers again, unless its settings forbid that.
	if err := admin.DeleteAgent(ctx, pool, id); err != nil {
		return "", "", err
	}
	return Removed, "", nil
}

// whyKept says why an agent is none to remove at time now, or "". Every doubt is
// a reason: what was removed by mistake takes a job with it.
func (a *Agent) whyKept(agent ado.TaskAgent, offlineFor time.Duration, now time.Time) string {
	fleet, labelled := job.Lookup(agent.SystemCapabilities, capabilityFleet)
	since := offlineSince(agent)
	switch {
	case !labelled:
		return "it is none of ours"
	case fleet != a.config.Fleet:
		return "it belongs to another fleet"
	case isPlaceholder(agent):
		return "it is a placeholder"
	case staysOffline(agent):
		return "it is meant to stay while it is offline"
	case agent.Status != ado.Offline:
		return "it is not offline"
	case agent.AssignedRequest != nil:
		return fmt.Sprintf("it has request %d", agent.AssignedRequest.RequestID)
	case since.IsZero():
		return "the server does not say since when it is offline"
	case now.Sub(since) < offlineFor:
		return "it has not been offline for long enough"
	}
	return ""
}

// offlineSince is when an offline agent went offline; the service leaves the
// date out for one that never had a session.
func offlineSince(agent ado.TaskAgent) time.Time {
	if !agent.StatusChangedOn.IsZero() {
		return agent.StatusChangedOn.Time
	}
	return agent.CreatedOn.Time
}

// staysOffline reports whether an agent is one that does not leave its pool when
// it ends ([Config.Ephemeral]).
func staysOffline(agent ado.TaskAgent) bool {
	value, ok := job.Lookup(agent.SystemCapabilities, capabilityEphemeral)
	return ok && !strings.EqualFold(value, "true")
}

// isPlaceholder reports whether a registration stands for agents to come. What
// cannot be read as false counts: a placeholder that was reaped by mistake
// leaves jobs without an agent to wait for.
func isPlaceholder(agent ado.TaskAgent) bool {
	value, ok := job.Lookup(agent.SystemCapabilities, capabilityPlaceholder)
	return ok && !strings.EqualFold(value, "false")
}

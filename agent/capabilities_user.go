package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// userCapabilities reads [Config.Capabilities]. A name without a value means
// "true": a demand for its existence is met, and so is "-equals true".
func (c Config) userCapabilities() (map[string]string, error) {
	wanted := newOffer()
	var problems []error
	for _, entry := range c.Capabilities {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, value, given := strings.Cut(entry, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !given {
			value = "true"
		}
		switch {
		case name == "":
			problems = append(problems, errors.New("a capability has no name"))
		case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
			problems = append(problems, fmt.Errorf("the capability %q has a blank in its name, which no demand can have", name))
		case isOurs(name), strings.HasPrefix(strings.ToLower(name), "agent."):
			// A user capability hides the system capability of its name: jobs
			// would go to agents that are not what they seem.
			problems = append(problems, fmt.Errorf("the capability %q is one that agents find out by themselves", name))
		case wanted.has(name):
			problems = append(problems, fmt.Errorf("the capability %q is named twice", name))
		default:
			wanted.set(name, value)
		}
	}
	return wanted.values, errors.Join(problems...)
}

// capabilityNames are the names of the settings' user capabilities in the form
// in which a capability remembers them. A name has no comma: the setting's list
// has.
func (c Config) capabilityNames() string {
	wanted, _ := c.userCapabilities() // Validate was here first
	return strings.Join(slices.Sorted(maps.Keys(wanted)), ",")
}

// wantedUserCapabilities are those that an agent is to have: what people set
// stays, the settings win, and what earlier settings set and these do not goes.
func (a *Agent) wantedUserCapabilities(existing ado.TaskAgent) (map[string]string, error) {
	wanted, err := a.config.userCapabilities()
	if err != nil {
		return nil, err
	}
	all := newOffer()
	all.setAll(existing.UserCapabilities)
	remembered, _ := job.Lookup(existing.SystemCapabilities, capabilitySet)
	for name := range strings.SplitSeq(remembered, ",") {
		all.remove(name)
	}
	all.setAll(wanted)
	return all.values, nil
}

// putUserCapabilities gives agent id its user capabilities. Nothing is sent when
// existing has them.
func (a *Agent) putUserCapabilities(ctx context.Context, admin *ado.Registration, pool ado.PoolID, id ado.AgentID, existing ado.TaskAgent) error {
	wanted, err := a.wantedUserCapabilities(existing)
	if err != nil || maps.Equal(wanted, existing.UserCapabilities) {
		return err
	}
	if err := admin.SetUserCapabilities(ctx, pool, id, wanted); err != nil {
		if errors.Is(err, ado.ErrAccessDenied) {
			err = hint.With(err, "or leave DOCKLESS_CAPABILITIES unset: user capabilities are an administrator's to set")
		}
		return err
	}
	a.log.InfoContext(ctx, "user capabilities set", "agent_id", id, "names", slices.Sorted(maps.Keys(wanted)))
	return nil
}

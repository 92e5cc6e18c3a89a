package podmanrun

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Recreate says which containers that are there already are replaced.
type Recreate int

// The choices.
const (
	RecreateChanged Recreate = iota // those that were made from something else
	RecreateAlways
	RecreateNever // whatever they were made from
)

// restartable are the states from which a container is started as it is.
var restartable = []string{"created", "configured", "initialized", "exited", "stopped"}

// keeps reports whether the container l of this unit stays, running or to be
// started again.
func (n *unit) keeps(l libpod.Listed) bool {
	if l.State != "running" && !slices.Contains(restartable, l.State) {
		return false
	}
	policy, only := n.up.options.Recreate, n.up.options.RecreateOnly
	if only != nil && !slices.Contains(only, n.name) {
		policy = RecreateChanged
	}
	switch policy {
	case RecreateAlways:
		return false
	case RecreateNever:
		return true
	}
	return l.Labels[labelHash] == n.request.Labels[labelHash]
}

// grace is how long a container has that was there before this call.
func (u *up) grace(l libpod.Listed) time.Duration {
	if u.options.Timeout != nil {
		return *u.options.Timeout
	}
	return graceOf(l)
}

// replace removes a container for which another comes, with those that live in its
// namespaces: Podman takes them along. The hooks of all of them run before.
func (u *up) replace(ctx context.Context, l libpod.Listed) error {
	grace := u.grace(l)
	if grace > 0 && l.State == "running" {
		for _, dependent := range u.livingIn(ctx, l.ID) {
			u.client.preStop(ctx, dependent, u.grace(dependent))
		}
	}
	u.client.preStop(ctx, l, grace)
	return u.client.api.RemoveWithDependents(ctx, l.ID, l.Name(), grace)
}

// livingIn returns those with hooks for their stop of the containers that were there
// and live in the namespaces of another, or of one that does.
func (u *up) livingIn(ctx context.Context, id string) (found []libpod.Listed) {
	rest := slices.DeleteFunc(slices.Concat(u.before, u.aside), func(l libpod.Listed) bool {
		return l.ID == id || l.State != "running" || isOneOff(l)
	})
	needs := u.needs(ctx, rest)
	in := []string{id}
	for i := 0; i < len(in); i++ {
		for _, l := range rest {
			if !slices.Contains(needs[l.ID], in[i]) || slices.Contains(in, l.ID) {
				continue
			}
			in = append(in, l.ID)
			if l.Labels[labelPreStop] != "" {
				found = append(found, l)
			}
		}
	}
	slices.Reverse(found) // the farthest first, as they are stopped
	return found
}

// needs tells in whose namespaces those of a list with hooks for their stop live, and in
// whose these do. A stack may have a hundred containers without: nobody asks for them.
func (u *up) needs(ctx context.Context, list []libpod.Listed) map[string][]string {
	var ask []string
	for _, l := range list {
		if l.Labels[labelPreStop] != "" {
			ask = append(ask, l.ID)
		}
	}
	needs := make(map[string][]string, len(ask))
	for i := 0; i < len(ask); i++ {
		answer, err := u.client.api.InspectContainer(ctx, ask[i])
		if err != nil {
			continue // it is gone
		}
		needs[ask[i]] = answer.Dependencies
		for _, other := range answer.Dependencies {
			if !slices.Contains(ask, other) {
				ask = append(ask, other)
			}
		}
	}
	return needs
}

// restartsWith are the dependencies of a service whose restart it follows.
func restartsWith(s types.ServiceConfig) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		if s.DependsOn[name].Restart {
			names = append(names, name)
		}
	}
	return names
}

// completedFor are the dependencies of a service that it waits to complete.
func completedFor(s types.ServiceConfig) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		if s.DependsOn[name].Condition == ServiceCompleted {
			names = append(names, name)
		}
	}
	return names
}

// leftAlone reports whether nobody looks at the container any more once it runs.
func (n *unit) leftAlone() bool {
	return n.isOneOff() || n.up.options.NoWait && !n.awaited
}

// knows reports whether the project has a service that takes no part in this start.
func (u *up) knows(service string) bool {
	_, known := u.project.DisabledServices[service]
	return known
}

// find returns a running container of a service that takes no part in this start, with
// its labels; empty when there is none.
func (u *up) find(service string) (id string, labels map[string]string) {
	for _, l := range slices.Concat(u.before, u.aside) {
		if l.Labels[LabelService] == service && l.State == "running" && !isOneOff(l) {
			return l.ID, l.Labels
		}
	}
	return "", nil
}

// setAside takes out of the containers that are there what is none of this call's
// business: those of single commands, and for one of these its service's.
func (u *up) setAside() {
	for _, l := range u.before {
		if isOneOff(l) || u.options.oneOff != nil && l.Labels[LabelService] == u.options.oneOff.service {
			u.aside = append(u.aside, l)
		}
	}
	u.before = slices.DeleteFunc(u.before, func(l libpod.Listed) bool {
		return slices.ContainsFunc(u.aside, func(a libpod.Listed) bool { return a.ID == l.ID })
	})
}

// names splits what a label lists.
func names(list string) []string {
	return slices.DeleteFunc(strings.Split(list, ","), func(name string) bool { return name == "" })
}

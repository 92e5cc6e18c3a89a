package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// relaunch starts a container that was kept again when a dependency was made anew
// that it is restarted with.
func (n *unit) relaunch(ctx context.Context) error {
	anew := n.restartsFor()
	if anew == "" {
		close(n.launched)
		return nil
	}
	wait := n.up.grace(n.was)
	n.up.client.preStop(ctx, n.was, wait)
	err := n.inSlot(ctx, func(ctx context.Context) error {
		return n.up.client.restart(ctx, n.id, n.was.Name(), n.was.Labels, wait)
	})
	if err != nil {
		return err
	}
	close(n.launched)
	n.emit(EventRestarted, "because "+anew+" was started anew")
	return n.postStart(ctx)
}

// restartsFor names a dependency whose restart the service follows and that runs
// because of this start.
func (n *unit) restartsFor() string {
	for _, name := range restartsWith(n.service) {
		anew := func(other *unit) bool { return passed(other.created) && !other.kept }
		if slices.ContainsFunc(n.up.units[name], anew) {
			return name
		}
	}
	return ""
}

// refer fills in the containers of other services in whose namespaces this one
// lives, and whose volumes it has, and those parts of volumes that they and
// containers beside the project have.
func (n *unit) refer(ctx context.Context) error {
	find := func(ref string) (id string, labels map[string]string, err error) {
		name, _, _ := strings.Cut(strings.TrimPrefix(ref, ofService), ":")
		others := n.up.units[name]
		if len(others) == 0 {
			if id, labels = n.up.find(name); id != "" {
				return id, labels, nil
			}
			return "", nil, fmt.Errorf("it needs the container of service %s, which has none", name)
		}
		lost, err := others[0].reaches(ctx, others[0].created)
		if lost {
			err = because(errDependency, "it needs the container of service %s, which failed", name)
		}
		return others[0].id, others[0].request.Labels, err
	}
	for _, space := range []*libpod.Namespace{n.request.NetNS, n.request.PidNS, n.request.IpcNS, n.request.UtsNS} {
		if space == nil || !strings.HasPrefix(space.Value, ofService) {
			continue
		}
		id, _, err := find(space.Value)
		if err != nil {
			return err
		}
		space.Value = id
	}
	for i, from := range n.request.VolumesFrom {
		name, ours := strings.CutPrefix(from, ofService)
		name, options, _ := strings.Cut(name, ":")
		if !ours {
			answer, err := n.up.client.api.InspectContainer(ctx, name)
			if libpod.HasStatus(err, http.StatusNotFound) {
				continue // which Podman says if the container is to be made
			}
			if err != nil {
				return err
			}
			n.request.addParts(answer.Config.Labels, options)
			continue
		}
		id, labels, err := find(from)
		if err != nil {
			return err
		}
		if n.request.VolumesFrom[i] = id; options != "" {
			n.request.VolumesFrom[i] += ":" + options
		}
		n.request.addParts(labels, options)
	}
	return nil
}

// dependencies waits until all of them are as this service wants them.
func (n *unit) dependencies(ctx context.Context) error {
	for _, dep := range dependencies(n.up.project, n.name) {
		for _, other := range n.up.units[dep.Service] {
			if err := other.arrives(ctx, dep.Condition); err != nil {
				return err
			}
		}
	}
	return nil
}

// errDependency means that what a service waits for can never be as it wants it.
var errDependency = errors.New("a dependency cannot be met")

// arrives waits until the unit is as another one wants it, or is lost, which nobody
// who waits for it minds.
func (n *unit) arrives(ctx context.Context, condition string) error {
	milestone := n.running
	switch condition {
	case ServiceCompleted:
		milestone = n.completed
	case ServiceHealthy:
		if lost, err := n.reaches(ctx, n.created); err != nil || lost {
			return err
		}
		if n.health == nil {
			return because(errDependency, "it waits for %s to be healthy, but %s has no healthcheck", n.name, n.name)
		}
		select {
		case <-n.completed: // or it would be waited for in vain
			if !passed(n.healthy) {
				return because(errDependency, "it waits for %s to be healthy, but %s has ended before it was", n.name, n.name)
			}
		case <-n.healthy:
		case <-n.lost:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return nil
	}
	_, err := n.reaches(ctx, milestone)
	return err
}

// reaches waits for a milestone of the unit and reports whether it got lost on the way.
func (n *unit) reaches(ctx context.Context, milestone <-chan struct{}) (lost bool, err error) {
	select {
	case <-milestone:
		return false, nil
	case <-n.lost:
		return !passed(milestone), nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

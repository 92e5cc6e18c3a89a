package podmanrun

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// ContainerOf names a container of a project.
type ContainerOf struct {
	Project string
	Owner   Owner // only this owner's; zero: everybody's
	Service string
	Replica int // which container of the service, counted from 1; zero is the first that runs, or all
}

// listed returns an owner's containers of the services of a project, by service and
// replica; naming no service is all of them. A service that has none is an error.
func (c *Client) listed(ctx context.Context, owner Owner, project string, services []string) ([]libpod.Listed, error) {
	list, err := c.api.ListContainers(ctx, ownedBy(owner, project, nil))
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, isOneOff)
	for _, name := range services {
		if !slices.ContainsFunc(list, func(l libpod.Listed) bool { return l.Labels[LabelService] == name }) {
			err := fmt.Errorf("project %s has no container for service %s", project, name)
			return nil, hint.With(err, "start it with \"dockless stack up %s\"", name)
		}
	}
	if len(services) > 0 {
		list = slices.DeleteFunc(list, func(l libpod.Listed) bool { return !slices.Contains(services, l.Labels[LabelService]) })
	}
	slices.SortFunc(list, func(a, b libpod.Listed) int {
		return cmp.Or(strings.Compare(a.Labels[LabelService], b.Labels[LabelService]), cmp.Compare(replicaOf(a), replicaOf(b)))
	})
	return list, nil
}

// replicaOf is the number of a container; those of a release that knew one for
// each service are the first.
func replicaOf(l libpod.Listed) int {
	n, err := strconv.Atoi(l.Labels[LabelReplica])
	if err != nil {
		return 1
	}
	return n
}

// container finds one container of a service: that replica, or for zero the first,
// preferring one that runs.
func (c *Client) container(ctx context.Context, of ContainerOf) (libpod.Listed, error) {
	list, err := c.replicas(ctx, of)
	if err != nil {
		return libpod.Listed{}, err
	}
	if i := slices.IndexFunc(list, func(l libpod.Listed) bool { return l.State == "running" }); i >= 0 {
		return list[i], nil
	}
	return list[0], nil
}

// replicas finds the containers of a service, one or more: that replica, or for zero
// all of them.
func (c *Client) replicas(ctx context.Context, of ContainerOf) ([]libpod.Listed, error) {
	list, err := c.listed(ctx, of.Owner, of.Project, []string{of.Service})
	if err != nil || of.Replica == 0 {
		return list, err
	}
	list = slices.DeleteFunc(list, func(l libpod.Listed) bool { return replicaOf(l) != of.Replica })
	if len(list) == 0 {
		return nil, fmt.Errorf("service %s of project %s has no container %d", of.Service, of.Project, of.Replica)
	}
	return list, nil
}

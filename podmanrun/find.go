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

// listed returns the containers of the services of a project, by service and
// replica; naming no service is all of them. A service that has none is an error.
func (c *Client) listed(ctx context.Context, project string, services []string) ([]libpod.Listed, error) {
	list, err := c.api.ListContainers(ctx, map[string]string{LabelProject: project})
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
func (c *Client) container(ctx context.Context, project, service string, replica int) (libpod.Listed, error) {
	list, err := c.listed(ctx, project, []string{service})
	if err != nil {
		return libpod.Listed{}, err
	}
	for _, l := range list {
		if replica == replicaOf(l) || replica == 0 && l.State == "running" {
			return l, nil
		}
	}
	if replica == 0 {
		return list[0], nil
	}
	return libpod.Listed{}, fmt.Errorf("service %s of project %s has no container %d", service, project, replica)
}

package podmanrun

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// ProjectStatus is one project of a Podman service.
type ProjectStatus struct {
	Name  string `json:"name"`
	Agent string `json:"agent,omitempty"` // whom it belongs to
	Job   string `json:"job,omitempty"`
	// States counts the containers by Podman's word for their state.
	States map[string]int `json:"states"`
}

// Projects lists the projects that have containers.
func (c *Client) Projects(ctx context.Context) ([]ProjectStatus, error) {
	list, err := c.api.ListContainers(ctx, nil)
	if err != nil {
		return nil, err
	}
	byOwner := make(map[[3]string]*ProjectStatus)
	for _, l := range list {
		name := l.Labels[LabelProject]
		if name == "" {
			continue
		}
		key := [3]string{name, l.Labels[LabelAgent], l.Labels[LabelJob]}
		p := byOwner[key]
		if p == nil {
			p = &ProjectStatus{Name: name, Agent: key[1], Job: key[2], States: make(map[string]int)}
			byOwner[key] = p
		}
		state := l.State
		if libpod.Ended(state) {
			state = "exited"
		}
		p.States[state]++
	}
	projects := make([]ProjectStatus, 0, len(byOwner))
	for _, key := range slices.SortedFunc(maps.Keys(byOwner), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) }) {
		projects = append(projects, *byOwner[key])
	}
	return projects, nil
}

// ServiceStatus is how one container of an owner is.
type ServiceStatus struct {
	Project string
	Job     string // that it belongs to; empty: none
	Service string
	Replica int    // zero when the service has one container
	State   string // Podman's word
	Health  string // of the last check; empty without one
}

// Subject is what the container is of, for people.
func (s ServiceStatus) Subject() string { return subject(s.Service, s.Replica) }

// Glance returns the containers of an owner by project and service. Unlike [Client.Ps]
// it asks one question and runs no healthcheck: it is for those who only look.
func (c *Client) Glance(ctx context.Context, o Owner) ([]ServiceStatus, error) {
	list, err := c.api.ListContainers(ctx, o.Labels())
	if err != nil {
		return nil, err
	}
	var all []ServiceStatus
	for _, l := range list {
		if l.Labels[LabelService] == "" || isOneOff(l) {
			continue
		}
		s := ServiceStatus{Project: l.Labels[LabelProject], Job: l.Labels[LabelJob], Service: l.Labels[LabelService], Replica: replicaIn(l, list), State: l.State, Health: l.Status}
		if libpod.Ended(s.State) {
			s.State, s.Health = "exited", ""
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b ServiceStatus) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Replica, b.Replica))
	})
	return all, nil
}

// ServiceProcesses are the processes of one container, as ps shows them.
type ServiceProcesses struct {
	Service   string     `json:"service"`
	Replica   int        `json:"replica,omitempty"` // zero when the service has one container
	Titles    []string   `json:"titles"`
	Processes [][]string `json:"processes"`
}

// Subject is what the processes are of, for people.
func (s ServiceProcesses) Subject() string { return subject(s.Service, s.Replica) }

// Top lists the processes of a project's running containers: an owner's, or for none
// everybody's.
func (c *Client) Top(ctx context.Context, owner Owner, project string, services []string) ([]ServiceProcesses, error) {
	list, err := c.listed(ctx, owner, project, services)
	if err != nil {
		return nil, err
	}
	var all []ServiceProcesses
	for _, l := range list {
		if l.State != "running" {
			continue
		}
		titles, processes, err := c.api.Top(ctx, l.ID, l.Name())
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, ServiceProcesses{Service: l.Labels[LabelService], Replica: replicaIn(l, list), Titles: titles, Processes: processes})
	}
	return all, nil
}

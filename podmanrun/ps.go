package podmanrun

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// ContainerStatus is how one container of a project is.
type ContainerStatus struct {
	Service  string `json:"service"`
	Replica  int    `json:"replica"` // counted from 1
	Name     string `json:"name"`
	ID       string `json:"id"`
	Image    string `json:"image"`
	State    string `json:"state"`            // Podman's word: created, running, exited, …
	Health   string `json:"health,omitempty"` // healthy, unhealthy or starting; empty without a healthcheck
	Ports    []Port `json:"ports,omitempty"`
	ExitCode int    `json:"exitCode"`
	OneOff   bool   `json:"oneOff,omitempty"` // of a single command, see [Client.Run]
}

// Subject is what the container is of, for people: the service, and which of its
// containers when others in list are, too.
func (s ContainerStatus) Subject(list []ContainerStatus) string {
	if s.OneOff {
		return s.Name
	}
	others := slices.ContainsFunc(list, func(o ContainerStatus) bool { return o.Service == s.Service && o.ID != s.ID && !o.OneOff })
	if !others {
		return s.Service
	}
	return subject(s.Service, s.Replica)
}

// Port is one published port.
type Port struct {
	HostIP    string `json:"hostIp,omitempty"` // empty is every address
	Host      int    `json:"host"`
	Container int    `json:"container"`
	Protocol  string `json:"protocol"` // tcp or udp
}

// String is the port as docker and compose write it.
func (p Port) String() string {
	ip := p.HostIP
	if ip == "" {
		ip = "0.0.0.0"
	}
	return ip + ":" + strconv.Itoa(p.Host) + "->" + strconv.Itoa(p.Container) + "/" + p.Protocol
}

// Ps returns the containers of a project by service. Nobody else runs the
// healthchecks of a stack that is not watched, so Ps runs each once.
func (c *Client) Ps(ctx context.Context, project string) ([]ContainerStatus, error) {
	return c.PsOwned(ctx, Owner{}, project)
}

// PsOwned is [Client.Ps] for the containers of one owner.
func (c *Client) PsOwned(ctx context.Context, owner Owner, project string) ([]ContainerStatus, error) {
	list, err := c.api.ListContainers(ctx, ownedBy(owner, project, nil))
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	statuses := make([]ContainerStatus, 0, len(list))
	g, gctx := errgroup.WithContext(ctx)
	for _, l := range list {
		g.Go(func() error {
			status, err := c.status(gctx, l)
			if libpod.HasStatus(err, http.StatusNotFound) {
				return nil // removed since it was listed
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			statuses = append(statuses, status)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(statuses, func(a, b ContainerStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Replica, b.Replica), cmp.Compare(a.Name, b.Name))
	})
	return statuses, nil
}

func (c *Client) status(ctx context.Context, l libpod.Listed) (ContainerStatus, error) {
	healthy := false
	h := checkFrom(l.Labels)
	if h != nil && l.State == "running" {
		var err error
		healthy, _, err = c.api.CheckContainer(ctx, l.ID, l.Name(), h.Timeout)
		if err != nil && !libpod.HasStatus(err, http.StatusConflict) { // it may have ended since it was listed
			return ContainerStatus{}, err
		}
	}
	answer, err := c.api.InspectContainer(ctx, l.ID)
	if err != nil {
		return ContainerStatus{}, err
	}
	replica, err := strconv.Atoi(l.Labels[LabelReplica])
	if err != nil {
		replica = 1 // from a release that knew one for each service
	}
	status := ContainerStatus{
		Service: l.Labels[LabelService], Replica: replica, Name: strings.TrimPrefix(answer.Name, "/"), ID: answer.ID,
		OneOff: isOneOff(l),
		Image:  answer.ImageName, State: answer.State.Status, ExitCode: answer.State.ExitCode, Ports: ports(answer),
	}
	if libpod.Ended(status.State) {
		status.State = "exited"
	}
	if h != nil && answer.State.Running {
		status.Health = cmp.Or(answer.State.Health.Status, "starting")
		if healthy {
			status.Health = "healthy"
		}
	}
	return status, nil
}

func ports(c *libpod.Container) []Port {
	var list []Port
	for key, bindings := range c.NetworkSettings.Ports {
		number, protocol, _ := strings.Cut(key, "/")
		container, err := strconv.Atoi(number)
		if err != nil {
			continue
		}
		for _, b := range bindings {
			host, err := strconv.Atoi(b.HostPort)
			if err != nil {
				continue
			}
			list = append(list, Port{HostIP: b.HostIP, Host: host, Container: container, Protocol: protocol})
		}
	}
	slices.SortFunc(list, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Host, b.Host))
	})
	return list
}

package podmanrun

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Stack is a project that is up. It holds no resources of its own; the
// containers live until [Client.Down] or [Client.RemoveOwned].
type Stack struct {
	client     *Client
	project    string
	network    string
	containers map[string][]*libpod.Container // by service, in the order of their replicas
	kept       map[string]bool                // IDs of containers that this start did not start
}

// finish looks at every container once more: for its ports, and for one that
// ended right after its start.
func (u *up) finish(ctx context.Context) (*Stack, error) {
	s := &Stack{client: u.client, project: u.project.Name, containers: make(map[string][]*libpod.Container), kept: make(map[string]bool)}
	if _, ok := u.project.Networks["default"]; ok && u.usesNetwork("default") {
		s.network = networkName(u.project, "default")
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	for name, units := range u.units {
		s.containers[name] = make([]*libpod.Container, len(units))
	}
	for unit := range u.all() {
		if passed(unit.lost) && !passed(unit.created) || unit.isOneOff() { // one command may be gone already
			continue
		}
		g.Go(func() error {
			answer, err := u.client.api.InspectContainer(gctx, unit.id)
			if err != nil {
				return unit.fail(err)
			}
			if !unit.optional && !unit.leftAlone() && !u.options.NoWait && !answer.State.Running && !passed(unit.completed) && !unit.startsAgain(answer) {
				if err := unit.ended(answer.State.ExitCode); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			s.containers[unit.name][unit.replica-1] = answer
			s.kept[answer.ID] = unit.kept
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, u.explain(ctx, err)
	}
	for name, list := range s.containers {
		s.containers[name] = slices.DeleteFunc(list, func(c *libpod.Container) bool { return c == nil })
	}
	return s, nil
}

// Project returns the name under which [Client.Down] finds the stack.
func (s *Stack) Project() string { return s.project }

// Network returns the name of the network on which services that name no other
// reach each other; empty when no service is on it.
func (s *Stack) Network() string { return s.network }

// ContainerID returns the container of a service, of several the first; empty when
// there is none.
func (s *Stack) ContainerID(service string) string {
	if list := s.containers[service]; len(list) > 0 {
		return list[0].ID
	}
	return ""
}

// Label returns a label of a service's container, which has those of its image
// too; empty when there is none.
func (s *Stack) Label(service, name string) string {
	if list := s.containers[service]; len(list) > 0 {
		return list[0].Config.Labels[name]
	}
	return ""
}

// Environment returns where the published ports of the services are, for the
// steps beside the stack: DOCKLESS_<SERVICE>_HOST, and for every container port
// N DOCKLESS_<SERVICE>_PORT_<N> with the port on that host. In service names,
// every character that is no letter or digit becomes an underscore. A port
// published for TCP and UDP gives TCP's. A service with replicas has those of its
// first container, and of each one under DOCKLESS_<SERVICE>_<REPLICA>.
func (s *Stack) Environment() map[string]string {
	env := make(map[string]string)
	add := func(prefix string, c *libpod.Container) {
		for _, key := range slices.Sorted(maps.Keys(c.NetworkSettings.Ports)) { // 53/tcp sorts before 53/udp
			port, _, _ := strings.Cut(key, "/")
			bindings := c.NetworkSettings.Ports[key]
			name := prefix + "_PORT_" + port
			if len(bindings) == 0 || bindings[0].HostPort == "" || env[name] != "" {
				continue
			}
			env[name] = bindings[0].HostPort
			env[prefix+"_HOST"] = s.client.PublishedHost()
			if ip := bindings[0].HostIP; ip != "" && ip != "0.0.0.0" && ip != "::" {
				env[prefix+"_HOST"] = ip
			}
		}
	}
	for service, list := range s.containers {
		prefix := "DOCKLESS_" + envName(service)
		for i, c := range list {
			if i == 0 {
				add(prefix, c)
			}
			if len(list) > 1 {
				add(prefix+"_"+strconv.Itoa(i+1), c)
			}
		}
	}
	return env
}

// Inside returns what [Stack.Environment] tells, for a container on the network
// of the stack: there a service is reached by its name, and at its own port.
func (s *Stack) Inside() map[string]string {
	env := make(map[string]string)
	for service, list := range s.containers {
		if len(list) == 0 {
			continue // scaled to nothing
		}
		prefix := "DOCKLESS_" + envName(service)
		for key, bindings := range list[0].NetworkSettings.Ports {
			if port, _, _ := strings.Cut(key, "/"); len(bindings) > 0 {
				env[prefix+"_PORT_"+port] = port
				env[prefix+"_HOST"] = service
			}
		}
	}
	return env
}

// envName makes a service name usable in the name of a variable.
func envName(service string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, service)
}

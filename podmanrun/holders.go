package podmanrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// portHolder says who listens on a port: a container of this Podman, or a process of
// this machine when Podman runs on it.
func (u *up) portHolder(ctx context.Context, protocol, ip, port string) string {
	parsed, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "somebody else"
	}
	number := uint16(parsed)
	list, err := u.client.api.ListContainers(ctx, nil)
	if err == nil {
		for _, l := range list {
			if l.State == "running" && publishes(l, protocol, ip, number) {
				return owned(l.Name(), l.Labels)
			}
		}
	}
	for unit := range u.all() {
		if times := unit.mappings(protocol, ip, number); times > 1 {
			return "service " + unit.name + " itself, which publishes it " + strconv.Itoa(times) + " times"
		}
	}
	if !u.client.local() {
		return "another process there"
	}
	return cmp.Or(listener(protocol, ip, number), "another process")
}

// mappings is how often the unit itself publishes a port.
func (n *unit) mappings(protocol, ip string, port uint16) (times int) {
	for _, p := range n.request.PortMappings {
		if p.HostPort == port && cmp.Or(p.Protocol, "tcp") == protocol && meet(ip, p.HostIP) {
			times++
		}
	}
	return times
}

// publishes reports whether a container has a port of the host.
func publishes(l libpod.Listed, protocol, ip string, port uint16) bool {
	for _, p := range l.Ports {
		last := p.HostPort + max(p.Range, 1) - 1
		for one := range strings.SplitSeq(cmp.Or(p.Protocol, "tcp"), ",") {
			if one == protocol && port >= p.HostPort && port <= last && meet(ip, p.HostIP) {
				return true
			}
		}
	}
	return false
}

// meet reports whether two listeners at these addresses are in each other's way.
func meet(a, b string) bool {
	every := func(ip string) bool { return anyAddress(ip) == "every address" || ip == "::" }
	return every(a) || every(b) || strings.Trim(a, "[]") == strings.Trim(b, "[]")
}

// describe names a container by its id.
func (c *Client) describe(ctx context.Context, id string) string {
	answer, err := c.api.InspectContainer(ctx, id)
	if err != nil {
		return "container " + id
	}
	return owned(strings.TrimPrefix(answer.Name, "/"), answer.Config.Labels)
}

// owned names a container and whose it is.
func owned(name string, labels map[string]string) string {
	text := "container " + name
	var whose []string
	for _, of := range []struct{ what, label string }{
		{"service", LabelService},
		{"project", LabelProject},
		{"service", "com.docker.compose.service"},
		{"project", "com.docker.compose.project"},
		{"job", LabelJob},
		{"agent", LabelAgent},
	} {
		if value := labels[of.label]; value != "" {
			whose = append(whose, of.what+" "+value)
		}
	}
	if len(whose) > 0 {
		text += " (" + strings.Join(whose, ", ") + ")"
	}
	return text
}

// isInUse reports whether something was not removed because containers use it. For a
// volume that is status 409, for a network 500.
func isInUse(err error) bool {
	status, ok := errors.AsType[*libpod.StatusError](err)
	return ok && (status.Code == http.StatusConflict || strings.Contains(status.Message, "being used") || strings.Contains(status.Message, "associated containers"))
}

// inUse says whose containers keep something from being removed; err stays as it is
// when it was refused for another reason.
func (c *Client) inUse(ctx context.Context, what string, err error, uses func(libpod.Listed) bool) error {
	if !isInUse(err) {
		return err
	}
	list, lerr := c.api.ListContainers(ctx, nil)
	if lerr != nil {
		return err
	}
	var users []string
	for _, l := range list {
		if uses(l) {
			users = append(users, owned(l.Name(), l.Labels))
		}
	}
	if len(users) == 0 {
		return err
	}
	err = because(err, "%s is in use by %s and stays", what, strings.Join(users, ", "))
	return hint.With(err, "remove that first, for example with \"dockless stack down -p PROJECT\"")
}

// subnetHolder says which network or interface has addresses of a subnet.
func (u *up) subnetHolder(ctx context.Context, text string) string {
	subnet, err := netip.ParsePrefix(text)
	if err != nil {
		return "another network"
	}
	networks, err := u.client.api.ListNetworks(ctx, nil)
	if err == nil {
		for _, n := range networks {
			for _, s := range n.Subnets {
				if other, err := netip.ParsePrefix(s.Subnet); err == nil && other.Overlaps(subnet) {
					return fmt.Sprintf("%s of %s", s.Subnet, strings.Replace(owned(n.Name, n.Labels), "container", "network", 1))
				}
			}
		}
	}
	if !u.client.local() {
		return "a network there"
	}
	interfaces, _ := net.Interfaces() // without them the machine says nothing
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if other, err := netip.ParsePrefix(a.String()); err == nil && other.Masked().Overlaps(subnet) {
				return fmt.Sprintf("%s of the machine's interface %s", other.Masked(), i.Name)
			}
		}
	}
	return "a network of the machine"
}

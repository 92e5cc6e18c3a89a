package podmanrun

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Prefixes of a namespace that belongs to somebody else.
const (
	ofService   = "service:"
	ofContainer = "container:"
)

// onNetworks reports whether a service is on the project's networks, and not in a
// namespace of the host's or of another container.
func onNetworks(s types.ServiceConfig) bool { return s.NetworkMode == "" || s.NetworkMode == "bridge" }

// namespaceOf turns a mode as compose writes it into Podman's; nil is Podman's own
// choice. That of another service keeps its prefix until the container is known.
func namespaceOf(key, mode string, also ...string) (*libpod.Namespace, error) {
	switch {
	case mode == "":
		return nil, nil //nolint:nilnil // nothing said is an answer
	case strings.HasPrefix(mode, ofContainer):
		return &libpod.Namespace{Mode: "container", Value: strings.TrimPrefix(mode, ofContainer)}, nil
	case strings.HasPrefix(mode, ofService):
		return &libpod.Namespace{Mode: "container", Value: mode}, nil
	case slices.Contains(also, mode):
		return &libpod.Namespace{Mode: mode}, nil
	}
	return nil, fmt.Errorf("%s %q is not supported, only %s", key, mode, strings.Join(append(also, "service:NAME", "container:NAME"), ", "))
}

// addNamespaces says whose network, processes, memory and users the container sees.
func addNamespaces(r *createRequest, s types.ServiceConfig) (err error) {
	if r.NetNS, err = namespaceOf("network_mode", s.NetworkMode, "bridge", "host", "none"); err != nil {
		return err
	}
	if r.NetNS == nil {
		r.NetNS = &libpod.Namespace{Mode: "bridge"}
	}
	if r.PidNS, err = namespaceOf("pid", s.Pid, "host", "private"); err != nil {
		return err
	}
	if r.IpcNS, err = namespaceOf("ipc", s.Ipc, "host", "private", "shareable", "none"); err != nil {
		return err
	}
	if r.UtsNS, err = namespaceOf("uts", s.Uts, "host", "private"); err != nil {
		return err
	}
	if r.CgroupNS, err = namespaceOf("cgroup", s.Cgroup, "host", "private"); err != nil {
		return err
	}
	if s.UserNSMode != "" {
		mode, value, _ := strings.Cut(s.UserNSMode, ":")
		r.UserNS = &libpod.Namespace{Mode: mode, Value: value}
	}
	return nil
}

// addNetworks connects the service to its networks under its own name, its aliases
// and the names by which links call it.
func addNetworks(r *createRequest, p *types.Project, s types.ServiceConfig) error {
	if !onNetworks(s) {
		return nil
	}
	r.Networks = make(map[string]libpod.NetworkAttachment, len(s.Networks))
	for key, network := range s.Networks {
		a := libpod.NetworkAttachment{}
		if network == nil || network.ServiceNameAliasEnabled() {
			a.Aliases = append(a.Aliases, s.Name)
		}
		if network != nil {
			a.Aliases = append(a.Aliases, network.Aliases...)
			a.StaticMAC, a.InterfaceName = network.MacAddress, network.InterfaceName
			for _, address := range []string{network.Ipv4Address, network.Ipv6Address} {
				if address == "" {
					continue
				}
				if net.ParseIP(address) == nil {
					return fmt.Errorf("network %s: %q is no address", key, address)
				}
				a.StaticIPs = append(a.StaticIPs, address)
			}
		}
		if s.ContainerName != "" {
			a.Aliases = append(a.Aliases, s.ContainerName)
		}
		a.Aliases = append(a.Aliases, linkNames(p, s.Name)...)
		slices.Sort(a.Aliases)
		a.Aliases = slices.Compact(a.Aliases)
		if a.StaticMAC == "" && len(s.Networks) == 1 {
			a.StaticMAC = s.MacAddress
		}
		r.Networks[networkName(p, key)] = a
	}
	return nil
}

// linkNames are the names that other services give to service name in their
// links. On a network of Podman's everybody hears them, not the linking one alone.
func linkNames(p *types.Project, name string) []string {
	var names []string
	for _, other := range p.AllServices() { // whether it takes part now or not: the container shall be the same
		for _, link := range other.Links {
			if service, alias, ok := strings.Cut(link, ":"); ok && service == name {
				names = append(names, alias)
			}
		}
	}
	return names
}

func networkName(p *types.Project, key string) string {
	if n := p.Networks[key]; n.Name != "" {
		return n.Name
	}
	return p.Name + "_" + key
}

// addPorts publishes ports. A range of host ports gives the replicas one each.
func addPorts(r *createRequest, s types.ServiceConfig, replica int) error {
	for _, port := range s.Ports {
		m := libpod.PortMapping{HostIP: port.HostIP, ContainerPort: uint16(port.Target), Protocol: port.Protocol} //nolint:gosec // compose-go has checked the range
		if port.Published != "" && port.Published != "0" {
			n, err := hostPort(port.Published, replica)
			if err != nil {
				return err
			}
			m.HostPort = n
		}
		r.PortMappings = append(r.PortMappings, m)
	}
	for _, text := range s.Expose {
		if err := expose(r, text); err != nil {
			return err
		}
	}
	return nil
}

// hostPort is the host's port of one replica: the only one, or that of a range.
func hostPort(published string, replica int) (uint16, error) {
	from, to, isRange := strings.Cut(published, "-")
	first, err := strconv.ParseUint(from, 10, 16)
	last := first
	if err == nil && isRange {
		last, err = strconv.ParseUint(to, 10, 16)
	}
	if err != nil || last < first {
		return 0, fmt.Errorf("port %q: it is neither a port nor a range of ports", published)
	}
	n := first + uint64(replica) - 1 //nolint:gosec // counted from 1
	if isRange && n > last {
		return 0, fmt.Errorf("port %q: the range has fewer ports than the service has replicas", published)
	}
	if !isRange {
		n = first
	}
	return uint16(n), nil
}

// expose records ports that nothing publishes, for those who look.
func expose(r *createRequest, text string) error {
	ports, protocol, _ := strings.Cut(text, "/")
	from, to, isRange := strings.Cut(ports, "-")
	first, err := strconv.ParseUint(from, 10, 16)
	last := first
	if err == nil && isRange {
		last, err = strconv.ParseUint(to, 10, 16)
	}
	if err != nil || last < first {
		return fmt.Errorf("expose %q: it is neither a port nor a range of ports", text)
	}
	if protocol == "" {
		protocol = "tcp"
	}
	if r.Expose == nil {
		r.Expose = make(map[uint16]string)
	}
	for port := first; port <= last; port++ {
		r.Expose[uint16(port)] = protocol //nolint:gosec // parsed as 16 bits
	}
	return nil
}

// networkRequestOf asks for a network of the project.
func networkRequestOf(name string, n types.NetworkConfig, labels map[string]string) (libpod.NetworkRequest, error) {
	r := libpod.NetworkRequest{
		Name: name, Driver: "bridge", Internal: n.Internal, DNSEnabled: true, Labels: labels,
		IPv6Enabled: n.EnableIPv6 != nil && *n.EnableIPv6,
	}
	if n.Driver != "" && n.Driver != "default" {
		r.Driver = n.Driver
	}
	r.DNSEnabled = r.Driver == "bridge" // Podman answers names on bridges only
	for _, key := range slices.Sorted(maps.Keys(n.DriverOpts)) {
		name, value := key, n.DriverOpts[key]
		switch key {
		case "com.docker.network.driver.mtu":
			name = "mtu"
		case "com.docker.network.bridge.name", "parent":
			r.NetworkInterface = value
			continue
		}
		if strings.HasPrefix(name, "com.docker.") {
			return r, fmt.Errorf("driver_opts: %s is docker's own, and Podman has no such setting", key)
		}
		if r.Options == nil {
			r.Options = make(map[string]string)
		}
		r.Options[name] = value
	}
	if d := n.Ipam.Driver; d != "" && d != "default" {
		r.IPAMOptions = map[string]string{"driver": d}
	}
	for _, pool := range n.Ipam.Config {
		subnet, err := subnetOf(pool)
		if err != nil {
			return r, err
		}
		r.Subnets = append(r.Subnets, subnet)
	}
	return r, nil
}

func subnetOf(pool *types.IPAMPool) (libpod.Subnet, error) {
	out := libpod.Subnet{Subnet: pool.Subnet, Gateway: pool.Gateway}
	if _, _, err := net.ParseCIDR(pool.Subnet); err != nil {
		return out, fmt.Errorf("ipam: %q is no subnet like 10.5.0.0/24", pool.Subnet)
	}
	if len(pool.AuxiliaryAddresses) > 0 {
		return out, fmt.Errorf("ipam: aux_addresses of %s are not supported: Podman keeps no address free", pool.Subnet)
	}
	if pool.IPRange == "" {
		return out, nil
	}
	_, ips, err := net.ParseCIDR(pool.IPRange)
	if err != nil {
		return out, fmt.Errorf("ipam: %q is no range like 10.5.0.128/25", pool.IPRange)
	}
	first, last := slices.Clone(ips.IP), slices.Clone(ips.IP)
	for i := range last {
		last[i] |= ^ips.Mask[i]
	}
	out.LeaseRange = &libpod.LeaseRange{StartIP: first.String(), EndIP: last.String()}
	return out, nil
}

package podmanrun

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	// hostGateway stands for the host in extra_hosts. Podman understands it from 4.7
	// on, and takes it for an address before; so every release gets the address.
	hostGateway = "host-gateway"
	// usualNetwork is Podman's own, which a service with network_mode bridge is on.
	usualNetwork = "podman"
)

// hostAddress puts the address at which the container reaches Podman's host in
// place of host-gateway. Networks exist by now.
func (n *unit) hostAddress(ctx context.Context) error {
	means := func(entry string) bool { return strings.HasSuffix(entry, ":"+hostGateway) }
	if !slices.ContainsFunc(n.request.HostAdd, means) {
		return nil
	}
	address := ""
	switch n.request.NetNS.Mode {
	case "host":
		address = "127.0.0.1"
	case "bridge":
		networks := slices.Sorted(maps.Keys(n.request.Networks))
		if len(networks) == 0 {
			networks = []string{usualNetwork}
		}
		for _, name := range networks {
			gateway, err := n.up.client.api.Gateway(ctx, name)
			if err != nil {
				return err
			}
			if address == "" {
				address = gateway
			}
		}
	}
	if address == "" {
		return hint.With(errors.New("extra_hosts: host-gateway: the service is on no network that leads to the host"), "put it on a network that is not internal")
	}
	for i, entry := range n.request.HostAdd {
		if means(entry) {
			n.request.HostAdd[i] = strings.TrimSuffix(entry, hostGateway) + address
		}
	}
	return nil
}

package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// The second octets that rigs give to their containers' networks, 10.161.0.0/16
// to 10.191.0.0/16: away from Podman's own 10.88 and 10.89, from Docker's 172.17
// and from the 10.0, 10.96 and 10.244 that Kubernetes hosts often use.
const (
	firstSubnet = 161
	lastSubnet  = 191
)

var errNoSubnet = errors.New("10.161.0.0/16 to 10.191.0.0/16 are all in use")

// subnet is a private /16 for one rig's containers. Two Podmans that do not know
// each other would both pick the first free network and then share a bridge.
type subnet struct {
	number int          // 161
	prefix string       // "10.161."
	hold   net.Listener // an abstract socket that says "taken" until this process ends
}

// reserveSubnet takes a /16 that no other rig holds and no interface uses, after it
// has taken away what rigs that were killed left in those that nobody holds.
func reserveSubnet(ctx context.Context) (ours *subnet, err error) {
	seen, err := findRemains(ctx)
	if err != nil {
		return nil, fmt.Errorf("choosing a subnet: %w", err)
	}
	errs := []error{errNoSubnet}
	for octet := firstSubnet; octet <= lastSubnet; octet++ {
		hold, err := (&net.ListenConfig{}).Listen(ctx, "unix", fmt.Sprintf("@dockless-rig-subnet-%d", octet))
		if err != nil {
			continue // another rig's
		}
		s := &subnet{number: octet, prefix: fmt.Sprintf("10.%d.", octet), hold: hold}
		if seen.any(octet) {
			err = removeRemains(ctx, octet)
		}
		used, uerr := net.InterfaceAddrs()
		if err = errors.Join(err, uerr); ours == nil && err == nil && !overlaps(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(octet)}), 16), used) {
			ours = s
			continue
		}
		errs = append(errs, err, s.release())
	}
	if ours == nil {
		return nil, fmt.Errorf("choosing a subnet: %w", errors.Join(errs...))
	}
	return ours, nil
}

// bridgePrefix begins the names of the bridges of a rig's containers.
func bridgePrefix(octet int) string { return fmt.Sprintf("dl%dp", octet) }

func (s *subnet) release() error {
	if err := s.hold.Close(); err != nil {
		return fmt.Errorf("releasing subnet %s0.0/16: %w", s.prefix, err)
	}
	return nil
}

func overlaps(prefix netip.Prefix, used []net.Addr) bool {
	for _, addr := range used {
		if other, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Overlaps(other.Masked()) {
			return true
		}
	}
	return false
}

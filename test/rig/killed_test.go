package rig

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheRulesOfOneSubnetAreUndone(t *testing.T) {
	const saved = `*filter
:NETAVARK_FORWARD - [0:0]
-A FORWARD -m comment --comment "netavark firewall plugin rules" -j NETAVARK_FORWARD
-A NETAVARK_FORWARD -d 10.170.0.0/24 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A NETAVARK_FORWARD -s 10.171.0.0/24 -j ACCEPT
COMMIT
*nat
:NETAVARK-1D - [0:0]
:NETAVARK-DN-1D - [0:0]
:NETAVARK-DN-2E - [0:0]
-A POSTROUTING -s 10.170.0.0/24 -j NETAVARK-1D
-A POSTROUTING -s 10.170.0.0/24 -j SOMEBODY-ELSES
-A NETAVARK-1D -d 10.170.0.0/24 -j ACCEPT
-A NETAVARK-DN-1D -s 10.170.0.0/24 -p tcp -m tcp --dport 36387 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-1D -d 127.0.0.1/32 -p tcp -m tcp --dport 36387 -j DNAT --to-destination 10.170.0.4:80
-A NETAVARK-DN-2E -p tcp -m tcp --dport 36388 -j DNAT --to-destination 10.171.0.4:80
-A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 36387 -m comment --comment "dnat name: podman id: a" -j NETAVARK-DN-1D
-A NETAVARK-HOSTPORT-DNAT -p udp -m udp --dport 36387 -m comment --comment "dnat name: podman id: a" -j NETAVARK-DN-1D
-A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 36388 -m comment --comment "dnat name: podman id: b" -j NETAVARK-DN-2E
COMMIT
`
	const want = `*filter
-D NETAVARK_FORWARD -d 10.170.0.0/24 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
-D POSTROUTING -s 10.170.0.0/24 -j NETAVARK-1D
-D NETAVARK-1D -d 10.170.0.0/24 -j ACCEPT
-D NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 36387 -m comment --comment "dnat name: podman id: a" -j NETAVARK-DN-1D
-D NETAVARK-HOSTPORT-DNAT -p udp -m udp --dport 36387 -m comment --comment "dnat name: podman id: a" -j NETAVARK-DN-1D
-F NETAVARK-DN-1D
-X NETAVARK-DN-1D
COMMIT
`
	if diff := cmp.Diff(want, undoing(saved, 170)); diff != "" {
		t.Errorf("undoing 10.170.0.0/16 (-want +got):\n%s", diff)
	}
	if got := undoing(saved, 172); got != "" {
		t.Errorf("undoing what is not there:\n%s", got)
	}
}

package rig

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
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

// namespace makes a network namespace, called as Podman calls its own unless name is
// another, and returns its path.
func namespace(t *testing.T, name string) string {
	t.Helper()
	ip(t, "netns", "add", name)
	t.Cleanup(func() {
		if exists("/run/netns/" + name) {
			ip(t, "netns", "delete", name)
		}
	})
	return "/run/netns/" + name
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestTheNamespacesOfAKilledRigAreRemovedAndNoOthers(t *testing.T) {
	const octet = 254 // no rig's
	linked, noted, foreign := namespace(t, "netns-"+uuid.NewString()), namespace(t, "netns-"+uuid.NewString()), namespace(t, "netns-"+uuid.NewString())
	named := namespace(t, "dl-test-"+uuid.NewString()) // by a person
	half := "/run/netns/netns-" + uuid.NewString()     // nothing is mounted there yet
	dir := t.TempDir()
	outside := filepath.Join(dir, "netns-"+uuid.NewString())
	for path, content := range map[string]string{
		half: "", outside: "",
		filepath.Join(dir, namespacesFile): strings.Join([]string{noted, named, half, outside, noted, "/run/netns/netns-" + uuid.NewString(), ""}, "\n"),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ip(t, "link", "add", "dl254p1", "type", "bridge")
	ip(t, "link", "add", "dl254v1", "master", "dl254p1", "type", "veth", "peer", "name", "eth0", "netns", filepath.Base(linked))

	if err := errors.Join(removeRemains(t.Context(), octet), removeNoted(dir)); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]bool{linked: false, noted: false, half: false, foreign: true, named: true, outside: true} {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) == want {
			t.Errorf("%s is there: %t, want %t", path, !want, want)
		}
	}
	if err := removeNoted(dir); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

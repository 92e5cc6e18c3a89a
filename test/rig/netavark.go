package rig

import (
	"fmt"
	"os"
	"path/filepath"
)

// netavarkScript stands before Podman's network program. Podmans that do not know
// each other, as those of rigs do not, get three things wrong together, and one alone:
//
//   - each calls its first bridge podman1, if the other's is not up yet, and the
//     second to come up finds a bridge with a foreign address. The script gives
//     the bridge a name of the rig's own;
//   - as root, all keep the DNS entries of a network in one file per network name,
//     below /run/containers/networks. The script moves them into the rig's
//     directory, which then also tells whose DNS server a process is;
//   - each looks for the common packet filter chains and makes them if need be,
//     and the other may do so in between. The script takes turns; it lets go of
//     the lock for the DNS server, which outlives the call;
//   - one that is killed forgets the network namespace that it was making, whose name
//     says nothing. The script notes it.
//
// Its arguments are the real program, the rig's number, its directory and the file of
// namespaces there.
const netavarkScript = `#!/bin/sh
sed 's/"network_interface":"podman\([0-9]*\)"/"network_interface":"dl%[2]dp\1"/g' >%[3]q/netavark.$$
for argument in "$@"; do
	case $argument in
	/run/containers/networks) argument=%[3]q/dns ;;
	/run/netns/*) echo "$argument" >>%[3]q/%[4]s ;;
	esac
	set -- "$@" "$argument"
	shift
done
flock --close --timeout 60 /run/lock/dockless-rig-netavark.lock %[1]q "$@" <%[3]q/netavark.$$
status=$?
rm -f %[3]q/netavark.$$
exit $status
`

// wrapNetavark puts the script where the Podman with its state in dir looks for
// netavark first.
func wrapNetavark(dir string, number int) error {
	var program string
	for _, place := range []string{"/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"} {
		if path := filepath.Join(place, "netavark"); program == "" && isFile(path) {
			program = path
		}
	}
	if program == "" {
		return missing("program netavark")
	}
	for _, name := range []string{"helpers", "dns"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return fmt.Errorf("configuring Podman's network: %w", err)
		}
	}
	script := fmt.Sprintf(netavarkScript, program, number, dir, namespacesFile)
	if err := os.WriteFile(filepath.Join(dir, "helpers", "netavark"), []byte(script), 0o700); err != nil { //nolint:gosec // a program
		return fmt.Errorf("configuring Podman's network: %w", err)
	}
	return nil
}

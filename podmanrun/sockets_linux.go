package podmanrun

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listener says which process of this machine listens on a port; empty when the
// kernel's tables have none, as for one in another network namespace. The socket
// is found in the tables, its process by the file that it has open.
func listener(protocol, ip string, port uint16) string {
	for _, table := range []string{protocol, protocol + "6"} {
		f, err := os.Open("/proc/net/" + table)
		if err != nil {
			continue
		}
		inode := socketOf(f, protocol, ip, port)
		_ = f.Close() // it was only read
		if inode != "" {
			return holderOf(inode)
		}
	}
	return ""
}

// socketOf finds the inode of the socket that listens at an address, in a table like
// /proc/net/tcp: sl, local_address, rem_address, st, …, inode as the tenth field.
func socketOf(table io.Reader, protocol, ip string, port uint16) (inode string) {
	state := map[string]string{"tcp": "0A", "udp": "07"}[protocol] // TCP_LISTEN, and TCP_CLOSE for what is not connected
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != state {
			continue
		}
		at, number, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(number, 16, 16); err != nil || uint16(n) != port {
			continue
		}
		if address, ok := kernelAddress(at); ok && (address.IsUnspecified() || meet(ip, address.Unmap().String())) {
			return fields[9]
		}
	}
	return ""
}

// kernelAddress reads an address as the tables write it: words in the order of the
// machine's bytes.
func kernelAddress(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	return netip.AddrFromSlice(raw)
}

// holderOf names the process that has a socket open. Those of other users are
// hidden from one that is not root.
func holderOf(inode string) string {
	want := "socket:[" + inode + "]"
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
	for _, file := range files {
		if target, err := os.Readlink(file); err != nil || target != want {
			continue
		}
		pid := strings.Split(file, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm") // without it the number must do
		return fmt.Sprintf("process %s (%s) of this machine", pid, strings.TrimSpace(string(name)))
	}
	return "another process of this machine"
}

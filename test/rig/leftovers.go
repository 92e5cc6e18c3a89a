package rig

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Leftovers is what containers of a Podman have on this machine besides Podman's own
// records: once they are removed, nothing may be left of it.
type Leftovers struct {
	Processes  []string // conmon, DNS servers and what runs in containers, as pid and name
	Sockets    []string // paths below the Podman's directory, without the service's own
	Mounts     []string
	Interfaces []string // bridges of its networks
}

// Empty reports whether there is nothing.
func (l Leftovers) Empty() bool {
	return len(l.Processes)+len(l.Sockets)+len(l.Mounts)+len(l.Interfaces) == 0
}

// Leftovers looks at this machine for what lives from the Podman's directory.
func (p *Podman) Leftovers() (l Leftovers, err error) {
	pids, err := processesOf(p.dir.path)
	if err != nil {
		return l, err
	}
	for _, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && pid != p.Pid() { // else it has ended meanwhile
			l.Processes = append(l.Processes, strconv.Itoa(pid)+" "+strings.TrimSpace(string(name)))
		}
	}
	err = filepath.WalkDir(p.dir.path, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed while it was looked at
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(path, p.dir.join("graph", "overlay")+"/"):
			return fs.SkipDir // files of images
		case entry.Type() == fs.ModeSocket && path != p.Socket():
			l.Sockets = append(l.Sockets, path)
		}
		return nil
	})
	if err != nil {
		return l, fmt.Errorf("looking for sockets: %w", err)
	}
	mounts, err := mountsBelow(p.dir.path)
	if err != nil {
		return l, err
	}
	// The storage itself is one for as long as the service lives.
	l.Mounts = slices.DeleteFunc(mounts, func(point string) bool { return point == p.dir.join("graph", "overlay") })
	interfaces, err := net.Interfaces()
	if err != nil {
		return l, fmt.Errorf("looking for interfaces: %w", err)
	}
	for _, i := range interfaces {
		if strings.HasPrefix(i.Name, fmt.Sprintf("dl%dp", p.subnet.number)) {
			l.Interfaces = append(l.Interfaces, i.Name)
		}
	}
	return l, nil
}

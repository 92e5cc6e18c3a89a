package cgroup

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
)

// mounted lists the mounted hierarchies, the last one mounted last.
func mounted(h Host) (_ []mount, err error) {
	f, err := os.Open(filepath.Join(h.Proc, "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	mounts, err := parseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	return mounts, nil
}

// parseMounts reads the hierarchies from /proc/self/mountinfo.
func parseMounts(from io.Reader) ([]mount, error) {
	found, err := mountinfo.GetMountsFromReader(from, mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, err
	}
	var mounts []mount
	for _, m := range found {
		mounts = append(mounts, mount{unified: m.FSType == "cgroup2", root: m.Root, point: m.Mountpoint, options: m.VFSOptions})
	}
	return mounts, nil
}

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Host says where the kernel shows processes and groups.
type Host struct {
	Proc string // directory of this process, with the files cgroup and mountinfo
	Root string // the mount points are below it; empty is the root of the file system
	Log  string // the kernel's; empty: none
}

// Here is the running system.
func Here() Host { return Host{Proc: "/proc/self", Log: "/dev/kmsg"} }

// hierarchy is where this process stands in one tree of groups.
type hierarchy struct {
	unified bool   // version 2
	path    string // of the group of this process, as the kernel names it
	dir     string // of that group
	top     string // directory of the mount; the groups above it cannot be seen
}

var errNone = errors.New("no control groups that count memory are mounted")

// find returns where this process's memory is counted, and its CPU time. A controller
// is in one hierarchy only, so version 2 counts memory where version 1 does not; then
// both are the same. cpu is nil where only memory is counted.
func find(h Host) (memory, cpu *hierarchy, err error) {
	text, err := os.ReadFile(filepath.Join(h.Proc, "cgroup"))
	if err != nil {
		return nil, nil, err
	}
	mounts, err := mounted(h)
	if err != nil {
		return nil, nil, err
	}
	var unified *hierarchy
	for _, m := range parseMemberships(string(text)) {
		switch {
		case len(m.controllers) == 0:
			unified = locate(h, mounts, m, "")
		case slices.Contains(m.controllers, "memory"):
			memory = locate(h, mounts, m, "memory")
		}
		if slices.Contains(m.controllers, "cpuacct") {
			cpu = locate(h, mounts, m, "cpuacct")
		}
	}
	switch {
	case memory != nil:
		return memory, cpu, nil
	case unified != nil:
		return unified, unified, nil
	}
	return nil, nil, errNone
}

// mount is one mounted hierarchy.
type mount struct {
	unified bool
	root    string // the group that is shown at point
	point   string
	options string // version 1: its controllers among others
}

// locate returns where the group of m is shown. The last mount that shows it lies
// on top of the others.
func locate(h Host, mounts []mount, m membership, controller string) *hierarchy {
	for _, at := range slices.Backward(mounts) {
		if at.unified != (controller == "") || !at.unified && !slices.Contains(strings.Split(at.options, ","), controller) {
			continue
		}
		way, ok := below(at.root, m.path)
		if !ok {
			continue
		}
		top := filepath.Join(h.Root, at.point)
		dir := filepath.Join(top, way)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return &hierarchy{unified: at.unified, path: m.path, dir: dir, top: top}
		}
	}
	return nil
}

// ancestors lists the directories from dir, which is below h.top, to h.top.
func (h *hierarchy) ancestors(dir string) []string {
	all := []string{dir}
	for dir != h.top && len(dir) > len(h.top) {
		dir = filepath.Dir(dir)
		all = append(all, dir)
	}
	return all
}

// counted returns the nearest group that this process's memory is charged to, or ""
// when none that we see has the memory controller, as the root of version 2.
func (h *hierarchy) counted() string {
	for _, dir := range h.ancestors(h.dir) {
		if _, err := os.Stat(filepath.Join(dir, h.files().kills)); err == nil {
			return dir
		}
	}
	return ""
}

// name is how the kernel names the group in dir.
func (h *hierarchy) name(dir string) string {
	here, err := filepath.Rel(h.dir, dir)
	if err != nil {
		return dir
	}
	return filepath.Join(h.path, here)
}

// files are the names of what a group is read from.
type files struct{ peak, now, kills, limit, hits, hitsKey string }

// files of version 2: Documentation/admin-guide/cgroup-v2.rst; of version 1:
// Documentation/admin-guide/cgroup-v1/memory.rst of the kernel.
func (h *hierarchy) files() files {
	if h.unified {
		return files{"memory.peak", "memory.current", "memory.events", "memory.max", "memory.events.local", "oom"}
	}
	return files{"memory.max_usage_in_bytes", "memory.usage_in_bytes", "memory.oom_control", "memory.limit_in_bytes", "memory.failcnt", ""}
}

// read returns the text of a small file, or "".
func read(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return string(text)
}

package cgroup

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Limit is a memory limit that processes ran into. The zero Limit is one that this
// process cannot see: of a group above its container, or the machine's memory.
type Limit struct {
	Bytes uint64
	Group string // that has it, as the kernel names it from here
}

// pod matches the last part of the group of a Kubernetes pod, under the cgroupfs and
// the systemd driver of the kubelet.
var pod = regexp.MustCompile(`^(kubepods.*-)?pod[0-9a-f_-]{30,}(\.slice)?$`)

// engines are words in the names of groups that container engines make.
var engines = []string{"kubepods", "docker", "libpod", "containerd", "crio", "buildkit"}

// By says who set the limit, for people.
func (l Limit) By() string {
	switch base := path.Base(l.Group); {
	case l.Bytes == 0:
		return "the pod or the machine"
	case pod.MatchString(base):
		return "the pod's memory limit"
	case l.container():
		return "the container's memory limit"
	case unit(base):
		return "the MemoryMax= of " + base
	}
	return fmt.Sprintf("the memory limit of control group %q", l.Group)
}

// Remedy says what an operator does about the limit.
func (l Limit) Remedy() string {
	switch base := path.Base(l.Group); {
	case l.Bytes == 0:
		return "raise the memory limit of the pod, or run fewer jobs on the machine at the same time"
	case pod.MatchString(base), l.container():
		return "raise resources.limits.memory of the agent's container, or have the step use less memory"
	case unit(base):
		return "raise MemoryMax= of " + base + ", or have the step use less memory"
	}
	return fmt.Sprintf("raise the memory limit of control group %q, or have the step use less memory", l.Group)
}

// container reports whether the group is one of a container: the root of a cgroup
// namespace, for the true root has no limit.
func (l Limit) container() bool {
	for _, word := range engines {
		if strings.Contains(l.Group, word) {
			return true
		}
	}
	return l.Group == "/"
}

func unit(base string) bool {
	return strings.HasSuffix(base, ".service") || strings.HasSuffix(base, ".slice") || strings.HasSuffix(base, ".scope")
}

// bound is a group with a limit.
type bound struct {
	dir   string
	limit Limit
	hits  uint64 // how often it was run into when it was looked at
	known bool   // whether hits could be read
}

// bounds returns the groups with a limit among dirs.
func (h *hierarchy) bounds(dirs []string) []bound {
	var all []bound
	for _, dir := range dirs {
		bytes, ok := parseLimit(read(dir, h.files().limit))
		if !ok {
			continue
		}
		b := bound{dir: dir, limit: Limit{Bytes: bytes, Group: h.name(dir)}}
		b.hits, b.known = h.hits(dir)
		all = append(all, b)
	}
	return all
}

// hits returns how often the limit of the group itself was run into.
func (h *hierarchy) hits(dir string) (uint64, bool) {
	f := h.files()
	if f.hitsKey == "" {
		return parseNumber(read(dir, f.hits))
	}
	return parseField(read(dir, f.hits), f.hitsKey)
}

// hit returns the limit that was run into since before was read: the nearest one
// whose count rose. Where an old kernel counts none, it is the smallest.
func (h *hierarchy) hit(before []bound) Limit {
	var smallest Limit
	for _, b := range before {
		hits, ok := h.hits(b.dir)
		if ok && b.known && hits > b.hits {
			return b.limit
		}
		if (!ok || !b.known) && (smallest.Bytes == 0 || b.limit.Bytes < smallest.Bytes) {
			smallest = b.limit
		}
	}
	return smallest
}

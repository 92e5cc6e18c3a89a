package cgroup

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// membership is one line of /proc/self/cgroup.
type membership struct {
	controllers []string // none: the version 2 hierarchy
	path        string   // seen from the root of the cgroup namespace
}

// parseMemberships reads /proc/self/cgroup. Lines of another form are passed over:
// there is no hierarchy in them that we know how to use.
func parseMemberships(text string) []membership {
	var all []membership
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // a path may have colons
		if len(fields) != 3 || !strings.HasPrefix(fields[2], "/") {
			continue
		}
		m := membership{path: fields[2]}
		if fields[1] != "" {
			m.controllers = strings.Split(fields[1], ",")
		}
		all = append(all, m)
	}
	return all
}

// below returns the way from the directory root to group, as the kernel names
// both. It fails for a group that is not below it, and for one outside of our
// cgroup namespace, which begins with /...
func below(root, group string) (string, bool) {
	if !path.IsAbs(root) || !path.IsAbs(group) || dotted(root) || dotted(group) {
		return "", false
	}
	root, group = path.Clean(root), path.Clean(group)
	if root == "/" {
		return group, true
	}
	rest, ok := strings.CutPrefix(group, root)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return "/" + strings.TrimPrefix(rest, "/"), true
}

func dotted(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

// parseField returns the number behind key in a file of lines "key number".
func parseField(text, key string) (uint64, bool) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if ok && name == key {
			return parseNumber(value)
		}
	}
	return 0, false
}

func parseNumber(text string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}

// unlimited is what version 1 says where there is no limit, about: the largest
// number of whole pages, whose size depends on the machine.
const unlimited = 1 << 62

// parseLimit returns the bytes of a limit; false is none.
func parseLimit(text string) (uint64, bool) {
	n, ok := parseNumber(text) // version 2 says max
	return n, ok && n < unlimited
}

// nanoseconds returns n units as a duration, within what that can hold.
func nanoseconds(n uint64, unit time.Duration) time.Duration {
	const most = 1<<63 - 1
	return time.Duration(min(n, most/uint64(unit))) * unit //nolint:gosec // bounded by most
}

package emulator

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// demandForm is the grammar of a demand (§10.5).
var demandForm = regexp.MustCompile(`^(\S+)(\s+-(\S+)\s+(.*))?$`)

// satisfies reports whether the agent meets every demand. User capabilities
// extend system capabilities.
func (a *agent) satisfies(demands []string) bool {
	for _, d := range demands {
		if !a.meets(d) {
			return false
		}
	}
	return true
}

// meets judges one demand. An invalid one is met by nobody.
func (a *agent) meets(demand string) bool {
	m := demandForm.FindStringSubmatch(strings.TrimSpace(demand))
	if m == nil {
		return false
	}
	have, ok := a.capability(m[1])
	switch {
	case !ok:
		return false
	case m[2] == "":
		return true
	case strings.EqualFold(m[3], "equals"):
		return strings.EqualFold(have, strings.TrimSpace(m[4]))
	case strings.EqualFold(m[3], "gtVersion"):
		return atLeast(have, strings.TrimSpace(m[4]))
	}
	return false
}

func (a *agent) capability(name string) (string, bool) {
	if strings.EqualFold(name, "Agent.Version") && a.wire.Version != "" {
		return a.wire.Version, true
	}
	if v, ok := job.Lookup(a.wire.UserCapabilities, name); ok {
		return v, true
	}
	return job.Lookup(a.wire.SystemCapabilities, name)
}

// atLeast compares dotted versions by their numbers; a missing part is zero.
func atLeast(have, want string) bool {
	h, hok := numbers(have)
	w, wok := numbers(want)
	if !hok || !wok {
		return false
	}
	for i := range max(len(h), len(w)) {
		a, b := 0, 0
		if i < len(h) {
			a = h[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			return a > b
		}
	}
	return true
}

func numbers(version string) ([]int, bool) {
	var out []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

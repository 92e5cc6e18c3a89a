package launch

import (
	"os"
	"strconv"
	"strings"
)

// Where a container finds its own group's memory: first cgroup v2, then v1.
var (
	killFiles  = []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"}
	limitFiles = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}
)

// memoryKills counts the processes of the container that the kernel has killed for
// want of memory. Where it cannot be read, it is always zero.
func memoryKills() int64 {
	for _, file := range killFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				return n
			}
		}
	}
	return 0
}

// memoryLimit is the container's limit in bytes; zero when it has none or does not
// know it.
func memoryLimit() int64 {
	// What v1 shows for "none" is a number of this size, less a page.
	const unlimited = 1 << 62
	for _, file := range limitFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n < unlimited {
			return n
		}
	}
	return 0
}

package cgroup

import (
	"path/filepath"
	"time"
)

// Measure says what a figure of memory is of.
type Measure int

const (
	// Together is the peak of all processes at the same time, and of the files they
	// had in memory.
	Together Measure = iota
	// Largest is the peak of the largest process that was waited for.
	Largest
	// AtMost is a bound of that: the kernel counts the agent's own memory for a
	// process until its program is loaded, and nothing grew larger than that.
	AtMost
)

// Usage is what processes used.
type Usage struct {
	Memory  uint64 // bytes at the peak
	Measure Measure
	CPU     time.Duration // of all of them
	Kills   uint64        // how many the kernel ended for lack of memory
	Counted bool          // whether the kernel tells us of Kills
	Limit   Limit         // that was run into, when there are Kills
	Victims []string      // the programs that were ended, as far as the kernel's log can be read
}

// Usage returns what was used so far.
func (g *Group) Usage() Usage {
	if g == nil {
		return Usage{}
	}
	g.mu.Lock()
	u := Usage{Memory: g.largest, Measure: Largest, CPU: g.spent}
	if g.blurred {
		u.Measure = AtMost
	}
	grouped := len(g.dirs) > 0 && !g.outside
	g.mu.Unlock()
	if grouped {
		if peak, ok := g.peak(); ok {
			u.Memory, u.Measure = peak, Together
		}
		if spent, ok := g.time(); ok {
			u.CPU = spent
		}
	}
	u.Counted = g.job != nil && g.job.counted != ""
	if u.Kills = g.Kills(); u.Kills > 0 {
		u.Limit = g.limit()
		if len(g.dirs) > 0 {
			u.Victims = g.job.log.victims(g.job.memory.name(g.dirs[0]))
		}
	}
	return u
}

// peak returns the most memory that was in use, in bytes.
func (g *Group) peak() (uint64, bool) {
	if g.watch != nil {
		return g.watch.peak()
	}
	return parseNumber(read(g.dirs[0], g.job.memory.files().peak))
}

// time returns the CPU time of the group.
func (g *Group) time() (time.Duration, bool) {
	if g.job.memory.unified {
		n, ok := parseField(read(g.dirs[0], "cpu.stat"), "usage_usec")
		return nanoseconds(n, time.Microsecond), ok
	}
	if len(g.dirs) < 2 {
		return 0, false
	}
	n, ok := parseNumber(read(g.dirs[1], "cpuacct.usage"))
	return nanoseconds(n, time.Nanosecond), ok
}

// Kills returns how many processes of the step the kernel has ended for lack of
// memory. Where it has no group, or not all are in it, those of the agent's own
// group count since the step began: nothing else of size runs there. It never
// falls, also when the job removes its own group, which takes the count along.
func (g *Group) Kills() uint64 {
	if g == nil || g.job == nil || g.job.memory == nil {
		return 0
	}
	h := g.job.memory
	var kills uint64
	g.mu.Lock()
	outside := g.outside || len(g.dirs) == 0
	g.mu.Unlock()
	if len(g.dirs) > 0 {
		kills, _ = h.kills(g.dirs[0])
	}
	if outside {
		if now, ok := h.kills(g.job.counted); ok && now > g.before {
			kills += now - g.before
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kills = max(g.kills, kills)
	return g.kills
}

// kills returns how many processes of the group in dir were ended for lack of
// memory: of version 2 with the groups below it.
func (h *hierarchy) kills(dir string) (uint64, bool) {
	if dir == "" {
		return 0, false
	}
	return parseField(read(dir, h.files().kills), "oom_kill")
}

// limit returns the limit that the step ran into.
func (g *Group) limit() Limit {
	h := g.job.memory
	all := g.bounds
	if len(g.dirs) > 0 {
		// A job can limit its own groups; they had no limit when they were made.
		own := h.bounds([]string{g.dirs[0], filepath.Dir(g.dirs[0])})
		for i := range own {
			own[i].hits = 0
		}
		all = append(own, all...)
	}
	return h.hit(all)
}

package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/launch"
	"github.com/dockless-ci/dockless/runner/internal/cgroup"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

// account is what the processes of an entry use. The zero value is one without
// processes.
type account struct {
	mu     sync.Mutex
	group  *cgroup.Group // nil while there was no process
	guests *cgroup.Usage // of processes in a container; nil: there were none
	told   uint64        // how many kills for lack of memory an error speaks of
}

// openGroups makes the control groups of the job.
func (x *execution) openGroups(ctx context.Context) {
	x.groups = cgroup.Open(cgroup.Here(), x.cfg.AgentName, string(x.m.JobID))
	if why := x.groups.Why(); why != nil {
		x.log.DebugContext(ctx, "steps have no control groups of their own", "reason", why)
	}
}

// closeGroups removes them.
func (x *execution) closeGroups(ctx context.Context, n *node) error {
	late, err := x.groups.Close(ctx)
	for _, l := range late {
		name := l.Step
		for _, e := range x.entries {
			if e.groupName() == l.Step {
				name = strconv.Quote(e.name)
			}
		}
		n.warning(fmt.Sprintf("The kernel ended %s that step %s had left running, because the memory ran out (%s).", processes(l.Kills), name, limitText(l.Limit)))
	}
	return err
}

// groupName names the entry among those of the job. Its display name need not be
// the only one.
func (e *entry) groupName() string { return fmt.Sprintf("step-%d", e.node.record.Order) }

// group returns the control group of the entry. All tries of a step share it.
func (a *attempt) group() *cgroup.Group {
	c := &a.account
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group == nil {
		c.group = a.x.groups.Step(a.groupName())
	}
	return c.group
}

// guest adds what a process in a container used, as far as the kernel tells whoever
// waited for it.
func (c *account) guest(exit launch.Exit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guests == nil {
		c.guests = &cgroup.Usage{Measure: cgroup.AtMost}
	}
	c.guests.CPU += exit.CPU
	if memory := uint64(max(exit.Memory, 0)); memory > c.guests.Memory {
		c.guests.Memory = memory
		if c.guests.Measure = cgroup.Largest; exit.AtMost {
			c.guests.Measure = cgroup.AtMost
		}
	}
}

// closeAccount prints what the processes of the entry used, all tries together, and warns
// when the kernel ended one and no error says so. It prints nothing for an entry
// without processes.
func (e *entry) closeAccount() {
	c := &e.account
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guests != nil {
		e.node.print(usageText(*c.guests))
	}
	if c.group == nil {
		return
	}
	u := c.group.Close()
	if u.Kills > c.told {
		what := processes(u.Kills-c.told) + " of the step"
		if len(u.Victims) == 1 {
			what = "process " + strconv.Quote(u.Victims[0]) + " of the step"
		}
		e.node.warning(fmt.Sprintf("The kernel ended %s because the memory ran out (peak %s, %s).",
			what, size(u.Memory), limitText(u.Limit)))
	}
	e.node.print(usageText(u))
}

// usageText is the footer of a log.
func usageText(u cgroup.Usage) string {
	cpu := fmt.Sprintf("CPU %s", seconds(u.CPU))
	switch {
	case u.Measure == cgroup.Together:
		return fmt.Sprintf("Peak memory %s (all processes and cached files), %s", size(u.Memory), cpu)
	case u.Measure == cgroup.AtMost:
		return fmt.Sprintf("Peak memory at most %s (largest process), %s", size(u.Memory), cpu)
	case u.Memory > 0:
		return fmt.Sprintf("Peak memory %s (largest process), %s", size(u.Memory), cpu)
	}
	return "Peak memory unknown, " + cpu
}

// memoryError says that a process ended in a way that may have to do with memory,
// and what the kernel tells about that.
type memoryError struct {
	exit    *process.ExitError
	program string // that was run
	kills   uint64 // while it ran
	usage   cgroup.Usage
	victims []string // programs that the kernel ended, of kills; empty: their names are not known
}

func (e *memoryError) Error() string { return e.exit.Error() }
func (e *memoryError) Unwrap() error { return e.exit }

// killed is the code of a process that SIGKILL ended, and of a shell whose last
// command was ended so.
const killed = 137

// judge returns err with what the kernel tells, when it is about the end of a process
// and lack of memory may be behind it. before is how many kills there were earlier.
func (a *attempt) judge(p program, err error, before uint64) error {
	exit, ok := err.(*process.ExitError) //nolint:errorlint // as process.Run returns it
	if !ok {
		return err
	}
	u := a.group().Usage()
	if u.Kills <= before && exit.Code != killed {
		return err
	}
	a.account.mu.Lock()
	a.account.told = u.Kills
	a.account.mu.Unlock()
	before = min(before, u.Kills)
	e := &memoryError{exit: exit, program: filepath.Base(p.path), kills: u.Kills - before, usage: u}
	if uint64(len(u.Victims)) == u.Kills {
		e.victims = u.Victims[before:] // of this process, not of one before it
	}
	return e
}

// explain returns the error for people; name is what they call the program.
func (e *memoryError) explain(name string) error {
	u := e.usage
	code := fmt.Sprintf("%s exited with code '%d'", name, e.exit.Code)
	switch {
	case e.kills > 0:
		text := fmt.Sprintf("The step ran out of memory: the kernel ended %s (peak %s, %s)", e.victim(), size(u.Memory), limitText(u.Limit))
		if e.exit.Code != killed {
			text += "; " + code
		}
		return hint.With(errors.New(text+"."), "%s", u.Limit.Remedy())
	case u.Counted:
		return fmt.Errorf("%s: it, or a process that it started, was ended by SIGKILL, and not for lack of memory as far as the kernel tells.", code) //nolint:staticcheck // a sentence, as the service's
	}
	return fmt.Errorf("%s: it, or a process that it started, was ended by SIGKILL. The kernel does not tell this agent whether the memory ran out, which is the usual reason.", code) //nolint:staticcheck // as above
}

// victim is what the kernel ended, as far as that is known.
func (e *memoryError) victim() string {
	switch {
	case len(e.victims) == 1:
		return "process " + strconv.Quote(e.victims[0])
	case len(e.victims) > 1:
		return processes(e.kills) + ", " + strconv.Quote(e.victims[len(e.victims)-1]) + " the last of them"
	case e.exit.Signaled && e.kills == 1:
		return "process " + strconv.Quote(e.program)
	case e.exit.Signaled:
		return processes(e.kills) + ", " + strconv.Quote(e.program) + " among them"
	}
	return processes(e.kills) + " of " + strconv.Quote(e.program)
}

func processes(n uint64) string {
	if n == 1 {
		return "a process"
	}
	return fmt.Sprintf("%d processes", n)
}

func limitText(l cgroup.Limit) string {
	if l.Bytes == 0 {
		return "no limit that this agent sees was reached: the memory of " + l.By() + " ran out"
	}
	return fmt.Sprintf("limit %s set by %s", size(l.Bytes), l.By())
}

// size is a number of bytes for people.
func size(n uint64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// seconds is a time of the CPU for people.
func seconds(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
}

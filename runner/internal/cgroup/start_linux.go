package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start starts cmd in the group, so that all it ever starts is in it as well. Where
// that is refused, cmd is started beside it and accounted as it is waited for. The
// caller has locked its goroutine to a thread that is not the first of the process:
// the kernel charges the agent's memory to the group of that one.
func (g *Group) Start(cmd *exec.Cmd) error {
	switch {
	case g == nil || len(g.dirs) == 0:
		return cmd.Start()
	case g.place != nil:
		return g.startInto(cmd)
	}
	return g.startFrom(cmd)
}

// startInto has the kernel make the process in the group (version 2).
func (g *Group) startInto(cmd *exec.Cmd) error {
	var attributes syscall.SysProcAttr
	if cmd.SysProcAttr != nil {
		attributes = *cmd.SysProcAttr
	}
	attributes.UseCgroupFD, attributes.CgroupFD = true, int(g.place.Fd())
	again := *cmd // a command can be started once
	cmd.SysProcAttr = &attributes
	err := cmd.Start()
	if err == nil {
		return nil
	}
	// The group or the program may be the reason; the second try tells.
	*cmd = again
	if err := cmd.Start(); err != nil {
		return err
	}
	g.lose()
	return nil
}

// startFrom moves this thread into the group while it forks (version 1). Zero is
// the thread that writes, and the only one that the kernel moves without stopping
// every fork of the machine.
func (g *Group) startFrom(cmd *exec.Cmd) error {
	for _, tasks := range g.tasks {
		if _, err := tasks.WriteString("0"); err != nil {
			g.lose()
			break
		}
	}
	err := cmd.Start()
	for _, t := range g.job.trees {
		// If it were refused, the thread would count as the step's until the group is
		// emptied at the job's end.
		_, _ = t.back.WriteString("0")
	}
	return err
}

// lose notes that a process is not in the group.
func (g *Group) lose() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.outside = true
}

// canStartInto returns nil when the kernel can make a process in a group: the
// default seccomp profiles of containers refuse clone3, which does. It is called
// without arguments, which is an error of another kind.
func canStartInto() error {
	_, _, errno := unix.Syscall(unix.SYS_CLONE3, 0, 0, 0)
	if errors.Is(errno, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("making a process in a group (clone3): %w", errno)
}

// handedOver reports whether systemd marked the group of a unit as delegated
// (https://systemd.io/CGROUP_DELEGATION). Another one it may change at any time.
func handedOver(dir string) bool {
	mark := make([]byte, 1)
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, mark); err == nil && n == 1 && mark[0] == '1' {
			return true
		}
	}
	return false
}

// residentSet returns the most memory that a process had, in bytes, and whether it
// is that of the agent: a process counts as its parent until its program is loaded.
func residentSet(state *os.ProcessState) (size uint64, blurred bool) {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok || usage.Maxrss < 0 {
		return 0, false
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, false
	}
	return uint64(usage.Maxrss) << 10, usage.Maxrss <= own.Maxrss
}

//go:build linux

package process

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes puts the child into its own process group and has the kernel kill
// it when this process dies, so that kill -9 of the agent stops the step. Only
// the direct child gets that signal; [KillLeftovers] finds the rest.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// enlarge asks for a larger pipe. Where the kernel refuses, the log is slower
// and nothing else.
func enlarge(pipe *os.File) {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize)
	})
}

// onFirstThread reports whether the caller, locked to its thread, is on the one that
// stands for the whole process.
func onFirstThread() bool { return unix.Gettid() == os.Getpid() }

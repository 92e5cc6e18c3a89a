//go:build unix && !linux

package process

import (
	"os"
	"syscall"
)

// attributes puts the child into its own process group. Only Linux can also
// kill it when this process dies.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func enlarge(*os.File) {}

func onFirstThread() bool { return false }

package podmanrun

import "syscall"

// childAttributes puts the service into its own process group, so that a
// Ctrl-C at the terminal leaves it to us, and ends it when we die.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

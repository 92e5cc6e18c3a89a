//go:build !linux

package podmanrun

import "syscall"

// childAttributes has nothing to add where Podman runs in a virtual machine.
func childAttributes() *syscall.SysProcAttr { return nil }

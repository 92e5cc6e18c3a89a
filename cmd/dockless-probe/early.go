//go:build linux && (amd64 || arm64) && !race && !msan && !asan

package main

import (
	"syscall"
	_ "unsafe" // for go:linkname

	"github.com/dockless-ci/dockless/cmd/dockless-probe/internal/answer"
)

// A Go program spends about a millisecond before main: the heap is laid out,
// 60 signal handlers are installed, threads are started. That is more than all
// of cat FILE, and a probe needs none of it. So this file has the probe's work
// done before: the runtime's entry code calls the function in _cgo_init, where
// programs with cgo set up their C library, once it has prepared the main
// stack and before it starts anything. Our function asks, answers and exits.
//
// It may use the stack (64 KiB) and system calls, nothing that allocates. The
// hook is the one on which cgo-free bindings to C libraries rest, so the
// toolchain keeps it accessible (see _cgo_init in runtime/cgo.go). Without
// this file and its assembly the command works the same, only later: that is
// how it is built with the race detector, which needs the hook for itself. A
// test of this package would be linked with the hook and never start, so the
// tests are those of internal/answer.

//go:linkname _cgo_init _cgo_init
var _cgo_init = &earlyEntry

// earlyEntry is the code of early_GOARCH.s, which calls earlyRun as Go code.
//
//go:linkname earlyEntry earlyEntry
var earlyEntry byte

var earlyRun = func() { //nolint:unused // early_GOARCH.s calls it
	code := answer.Run()
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(code), 0, 0)
	}
}

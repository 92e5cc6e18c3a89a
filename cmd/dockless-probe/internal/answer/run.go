//go:build linux && (amd64 || arm64)

package answer

import (
	"syscall"
	"unsafe"

	"github.com/dockless-ci/dockless/probe"
)

const (
	exitYes   = 0
	exitNo    = 1
	exitUsage = 2

	// maxArguments bounds the command line: two paths' length and to spare.
	maxArguments = 4096
	// maxLine bounds the answer.
	maxLine = 2048

	usage = "usage: dockless-probe live|ready [--file F] [--slot S] [--process P] [--max-age D]"
)

// request is what the arguments say.
type request struct {
	question probe.Question
	file     string
	query    probe.Query
}

// Run does all of the command's work and returns its exit code.
func Run() int {
	var arguments [maxArguments]byte
	var buf [maxLine]byte
	line := buf[:0]
	var r request
	code := exitUsage
	if n, complaint := readArguments(&arguments); complaint != "" {
		line = append(line, complaint...)
	} else if r, complaint = parse(arguments[:n]); complaint != "" {
		line = append(append(line, complaint...), "; "...)
		line = append(line, usage...)
	} else {
		code = exitNo
		var ok bool
		if ok, line = probe.CheckFile(line, r.file, r.question, r.query); ok {
			code = exitYes
		}
	}
	write(append(line, '\n'))
	return code
}

// readArguments reads the command line of this process, each argument followed
// by NUL. The usual way to it is set up by the runtime.
func readArguments(buf *[maxArguments]byte) (n int, complaint string) {
	path := [...]byte{'/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', '/', 'c', 'm', 'd', 'l', 'i', 'n', 'e', 0}
	dir := -100                                                                                                                                        // AT_FDCWD
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&path)), syscall.O_RDONLY|syscall.O_CLOEXEC, 0, 0, 0) //nolint:gosec // the kernel reads the path during the call
	if errno != 0 {
		return 0, "cannot read /proc/self/cmdline: is /proc mounted?"
	}
	for n < len(buf) {
		got, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[n])), uintptr(len(buf)-n)) //nolint:gosec // as above
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || got == 0 {
			break
		}
		n += int(got)
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	if n == len(buf) {
		return 0, "the arguments are too long"
	}
	return n, ""
}

func write(line []byte) {
	for len(line) > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, 1, uintptr(unsafe.Pointer(&line[0])), uintptr(len(line))) //nolint:gosec // the kernel reads it during the call
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return // nobody listens; the exit code says it too
		}
		line = line[n:]
	}
}

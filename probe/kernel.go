//go:build linux && (amd64 || arm64)

package probe

import (
	"syscall"
	"unsafe"
)

// This file has the few calls into the kernel that both sides need. They use
// buffers on the stack and nothing of the runtime, see [CheckFile]; package os
// would cost dockless-probe more than all of its work.

const (
	atFDCWD       = -100
	clockBoottime = 7
	ofdGetLock    = 36
	ofdSetLock    = 37
)

// zpath is a path as the kernel wants it.
type zpath [1024]byte

// set stores path and reports whether it fits.
func (z *zpath) set(path string) bool {
	if len(path) >= len(z) {
		return false
	}
	z[copy(z[:], path)] = 0
	return true
}

func openat(path *zpath, flags int, mode uint32) (fd int, errno syscall.Errno) {
	dir := atFDCWD
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(path)), uintptr(flags|syscall.O_CLOEXEC), uintptr(mode), 0, 0) //nolint:gosec // the kernel reads the path during the call
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

func closeFD(fd int) { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

// readSmall reads a file of /proc into buf, as much as fits.
func readSmall(path *zpath, buf []byte) ([]byte, syscall.Errno) {
	fd, errno := openat(path, syscall.O_RDONLY, 0)
	if errno != 0 {
		return nil, errno
	}
	total := 0
	for total < len(buf) {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[total])), uintptr(len(buf)-total)) //nolint:gosec // as above
		if e == syscall.EINTR {
			continue
		}
		if errno = e; e != 0 || n == 0 {
			break
		}
		total += int(n)
	}
	closeFD(fd)
	return buf[:total], errno
}

// boottime is CLOCK_BOOTTIME in ns, which goes on while the machine sleeps. It
// is 0 when the kernel has no such clock, which makes every beat one of the future.
func boottime() int64 {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0) //nolint:gosec // as above
	if errno != 0 {
		return 0
	}
	return ts.Sec*1e9 + ts.Nsec
}

// bootHash is the FNV-1a hash of the 36 characters of the kernel's boot id, or
// 0 when it cannot be read.
func bootHash() uint64 {
	var path zpath
	var buf [64]byte
	path.set("/proc/sys/kernel/random/boot_id")
	id, errno := readSmall(&path, buf[:])
	if errno != 0 || len(id) < bootIDLength {
		return 0
	}
	hash := uint64(0xcbf29ce484222325)
	for _, c := range id[:bootIDLength] {
		hash = (hash ^ uint64(c)) * 0x100000001b3
	}
	return hash
}

const bootIDLength = 36

// pidNamespace is the inode of this process' process id namespace, or 0 when
// it cannot be read.
func pidNamespace() uint64 {
	var path zpath
	var buf [64]byte
	path.set("/proc/self/ns/pid")
	dir := atFDCWD
	n, _, errno := syscall.RawSyscall6(syscall.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&path)), uintptr(unsafe.Pointer(&buf)), uintptr(len(buf)), 0, 0) //nolint:gosec // as above
	if errno != 0 || n > uintptr(len(buf)) {
		return 0
	}
	// The link reads "pid:[4026531836]".
	inode := uint64(0)
	for _, c := range buf[:n] {
		if '0' <= c && c <= '9' {
			inode = inode*10 + uint64(c-'0')
		}
	}
	return inode
}

// startTime is when process pid started, in clock ticks since boot. It is 0
// when there is no such process or it is dead and only waits for its parent.
// The error says that it could not be found out.
func startTime(pid uint64) (uint64, syscall.Errno) {
	var path zpath
	var line [1024]byte
	if pid == 0 || pid > 1<<31-1 {
		return 0, 0
	}
	name := appendNumber(append(line[:0], "/proc/"...), pid)
	name = append(name, "/stat"...)
	copy(path[:], name)
	stat, errno := readSmall(&path, line[:])
	if errno == syscall.ENOENT || errno == syscall.ESRCH {
		if !procMounted() {
			return 0, syscall.ENOSYS
		}
		return 0, 0
	}
	return parseStart(stat), errno
}

func procMounted() bool {
	var path zpath
	path.set("/proc/self/stat")
	fd, errno := openat(&path, syscall.O_RDONLY, 0)
	if errno == 0 {
		closeFD(fd)
	}
	return errno == 0
}

// parseStart takes the 22nd field of a line of /proc/PID/stat, whose second
// may hold blanks and parentheses. A dead process and a line that cannot be
// read give 0.
func parseStart(stat []byte) uint64 {
	at := len(stat) - 1
	for at >= 0 && stat[at] != ')' {
		at--
	}
	if at < 0 || at+2 >= len(stat) || stat[at+1] != ' ' {
		return 0
	}
	rest := stat[at+2:]
	if rest[0] == 'Z' || rest[0] == 'X' || rest[0] == 'x' {
		return 0
	}
	field, value, digits := 3, uint64(0), 0
	for _, c := range rest {
		switch {
		case c == ' ' && field == 22:
			if digits == 0 {
				return 0
			}
			return value
		case c == ' ':
			field++
		case field == 22 && '0' <= c && c <= '9':
			value, digits = value*10+uint64(c-'0'), digits+1
		case field == 22:
			return 0
		}
	}
	return 0 // the line ends before the field does
}

// lock asks for, or with ofdGetLock about, a lock on length bytes of the file
// from start on; no length is all of it. kind is F_WRLCK, F_RDLCK or F_UNLCK. The
// lock belongs to the open file, so it ends with the process that opened it, and
// it can be seen from other process id namespaces.
func lock(fd, command int, kind int16, start, length int64) (taken bool, errno syscall.Errno) {
	request := syscall.Flock_t{Type: kind, Start: start, Len: length}
	_, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(command), uintptr(unsafe.Pointer(&request))) //nolint:gosec // as above
	return errno == 0 && request.Type != syscall.F_UNLCK, errno
}

// isHeld reports whether a lock was refused because somebody else has it.
func isHeld(errno syscall.Errno) bool { return errno == syscall.EAGAIN || errno == syscall.EACCES }

// lockSlot locks or unlocks slot n, which its owner does to be seen from other
// process id namespaces. It excludes nobody: who owns a slot says its first word.
func lockSlot(fd, n int, kind int16) syscall.Errno {
	_, errno := lock(fd, ofdSetLock, kind, int64(slot(n)*8), slotWords*8)
	return errno
}

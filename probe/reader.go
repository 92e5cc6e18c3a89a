//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

// Reader looks at a page. Its methods may be called concurrently, but not
// after [Reader.Close].
type Reader struct {
	fd   int
	page *page
}

// Verdict is the answer to a [Question].
type Verdict struct {
	OK   bool
	Text string // one line that says why, for example "live: 2 slots: poll 12ms, lock 3s"
}

// SlotStatus is what a page says about one slot.
type SlotStatus struct {
	Name    string
	State   State
	Reason  Reason
	Age     time.Duration // since the last beat
	Allowed time.Duration // the age that the slot allows itself
	Counter uint64        // what the writer counts, see [Slot.Count]
	Process int           // the process that owns the slot, as it counts processes
	Gone    bool          // that process has died, or it cannot be told whether it has
}

// Open maps the page of file path, read-only. The page may belong to a process
// that is dead, or be no page at all: every answer looks again. Open fails when
// the file does not exist (fs.ErrNotExist), cannot be read or has the wrong size.
func Open(path string) (*Reader, error) {
	p, fd, refused := mapFile(path)
	if refused != notRefused {
		return nil, fmt.Errorf("opening probe page %s: %w", path, refused.asError())
	}
	return &Reader{fd: fd, page: p}, nil
}

// Close unmaps the page.
func (r *Reader) Close() error {
	unmap(r.page)
	closeFD(r.fd)
	r.page = nil
	return nil
}

// Ask answers a question now. It reads a few small files under /proc to learn
// whether the processes that write the page are still there.
func (r *Reader) Ask(question Question, q Query) Verdict {
	var buf [lineSize]byte
	ok, line := r.page.ask(buf[:0], r.fd, question, q)
	return Verdict{OK: ok, Text: string(line)}
}

// Slots returns what the page says about every slot in use, true or not. Of a
// file that is no page of this version and boot there are none.
func (r *Reader) Slots() []SlotStatus {
	var s sight
	if ok, _ := r.page.checkHeader(nil, evidence{boot: bootHash()}); !ok {
		return nil
	}
	s.see(r.page, r.fd, 0)
	now := boottime()
	var slots []SlotStatus
	for n := range Slots {
		if !s.asked(n, Query{}) {
			continue
		}
		status := s.page.statusOf(n)
		slots = append(slots, SlotStatus{
			Name:    string(s.page.appendName(nil, n)),
			State:   status.state(),
			Reason:  status.reason(),
			Age:     time.Duration(now - s.beat(n)),
			Allowed: time.Duration(s.allowed(n, 0)), //nolint:gosec // foreign bytes, shown as they are
			Counter: s.page.load(slot(n) + counterWord),
			Process: int(s.page.ownerOf(n).pid()), //nolint:gosec // 22 bits
			Gone:    s.fates[n] != fateAlive,
		})
	}
	return slots
}

var errSize = errors.New("it is not a file of one page")

// lineSize is more than the longest line that decide writes.
const lineSize = 1024

// CheckFile answers a question about the page of file path and appends the
// line that says why, without its end, to line. It is [Open] and [Reader.Ask]
// for a process that asks once and exits: when line has room for 1024 bytes it
// allocates nothing, and it calls nothing that needs a started Go runtime.
func CheckFile(line []byte, path string, question Question, q Query) (bool, []byte) {
	p, fd, refused := mapFile(path)
	if refused != notRefused {
		line = append(appendQuestion(append(line, "not "...), question), refused.text()...)
		return false, append(line, path[:min(len(path), lineSize/2)]...)
	}
	ok, line := p.ask(line, fd, question, q)
	unmap(p)
	closeFD(fd)
	return ok, line
}

func (p *page) ask(line []byte, fd int, question Question, q Query) (bool, []byte) {
	var s sight
	e := evidence{boot: bootHash()}
	s.see(p, fd, 0)
	s.of = s.ownerHere(q.Process)
	// The clock is read last: a beat that is later than it is no beat of ours.
	e.now = boottime()
	return s.decide(line, question, q, e)
}

// refusal says why a file could not be mapped.
type refusal int

const (
	notRefused refusal = iota
	refusedName
	refusedMissing
	refusedAccess
	refusedOpen
	refusedSize
	refusedMap
)

// text goes before the path.
func (r refusal) text() string {
	switch r {
	case refusedName:
		return "the path is too long: "
	case refusedMissing:
		return "no page at "
	case refusedAccess:
		return "no permission to read "
	case refusedSize:
		return "not a probe page: "
	case refusedMap:
		return "cannot map "
	case refusedOpen, notRefused:
	}
	return "cannot open "
}

func (r refusal) asError() error {
	switch r {
	case refusedName:
		return syscall.ENAMETOOLONG
	case refusedMissing:
		return syscall.ENOENT
	case refusedAccess:
		return syscall.EACCES
	case refusedSize:
		return errSize
	case refusedMap, refusedOpen, notRefused:
	}
	return syscall.EIO
}

// mapFile maps the page of file path for reading.
func mapFile(path string) (*page, int, refusal) {
	var name zpath
	if !name.set(path) {
		return nil, -1, refusedName
	}
	// Without O_NONBLOCK a FIFO of that name would keep us waiting for its writer.
	fd, errno := openat(&name, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch errno {
	case 0:
	case syscall.ENOENT, syscall.ENOTDIR:
		return nil, -1, refusedMissing
	case syscall.EACCES, syscall.EPERM:
		return nil, -1, refusedAccess
	default:
		return nil, -1, refusedOpen
	}
	var stat syscall.Stat_t
	_, _, errno = syscall.RawSyscall(syscall.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(&stat)), 0) //nolint:gosec // the kernel writes during the call
	if errno != 0 || stat.Mode&syscall.S_IFMT != syscall.S_IFREG || stat.Size != PageSize {
		closeFD(fd)
		return nil, -1, refusedSize
	}
	p, errno := mapPage(fd, syscall.PROT_READ)
	if errno != 0 {
		closeFD(fd)
		return nil, -1, refusedMap
	}
	return p, fd, notRefused
}

func mapPage(fd, protection int) (*page, syscall.Errno) {
	at, _, errno := syscall.RawSyscall6(syscall.SYS_MMAP, 0, PageSize, uintptr(protection), syscall.MAP_SHARED, uintptr(fd), 0)
	if errno != 0 {
		return nil, errno
	}
	// The memory is the kernel's, not the collector's, so its address may
	// become a pointer; reading it through one keeps go vet's rule.
	return *(**page)(unsafe.Pointer(&at)), 0 //nolint:gosec // see above
}

func unmap(p *page) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_MUNMAP, uintptr(unsafe.Pointer(p)), PageSize, 0) //nolint:gosec // p is mapped memory
}

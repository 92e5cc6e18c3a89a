package conceal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	// leastABI is the first version of Landlock that lets a process move files
	// between directories at all (Linux 5.19).
	leastABI = 2
	// handled are the rights that the veil decides about. Moving and linking is
	// one of them because a ruleset that does not name it forbids it.
	handled = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_REFER
	// rulesetSize is how much of the attributes is handed over: the rights on
	// files, which every version knows.
	rulesetSize = 8
)

// Veil hides files. A nil Veil hides none. Its methods may be called
// concurrently, Close last.
type Veil struct {
	ruleset *os.File
	opens   chan request // to the thread that opens files
	opener  sync.WaitGroup
}

type request struct {
	path string
	flag int
	to   chan<- answer // takes one answer
}

type answer struct {
	file *os.File
	err  error
}

// Check returns nil when files can be hidden from jobs here, or why not: an
// [ErrImpossible] with a hint, or another error when that could not be found out.
func Check(files []string) error {
	v, err := New(files)
	if err != nil {
		return err
	}
	return v.Close()
}

// New returns a veil over files, or nil when there are none. What appears later
// beside them or beside a directory above them is hidden as well, so a veil is
// made for each job. It returns [ErrImpossible] as [Check] does.
func New(files []string) (*Veil, error) {
	if len(files) == 0 {
		return nil, nil //nolint:nilnil // a nil Veil is one that hides nothing
	}
	if err := supported(); err != nil {
		return nil, err
	}
	var targets []string
	for _, file := range files {
		path, err := target(file, mountinfo.Mounted)
		if err != nil {
			return nil, fmt.Errorf("hiding %s from jobs: %w", file, err)
		}
		targets = append(targets, path)
	}
	t := newTree(targets)
	for _, dir := range t.ancestors {
		if err := checkAncestor(dir); err != nil {
			return nil, err
		}
	}
	ruleset, err := t.ruleset()
	if err != nil {
		return nil, fmt.Errorf("hiding files from jobs: %w", err)
	}
	v := &Veil{ruleset: ruleset, opens: make(chan request)}
	v.opener.Go(v.open)
	return v, nil
}

// supported checks what the kernel offers. A process that may still gain
// privileges would lose its set-uid programs, sudo among them, by the veil.
func supported() error {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || abi < leastABI {
		return impossible("run the agent on Linux 5.19 or later with landlock among the security modules", "this kernel has no Landlock that is new enough")
	}
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("asking whether the agent may gain privileges: %w", err)
	}
	if set != 1 {
		return impossible("set allowPrivilegeEscalation: false for the agent's container, or NoNewPrivileges=yes for its service",
			"the agent may gain privileges, and its jobs would lose sudo")
	}
	return nil
}

// checkAncestor refuses a directory that a job could change: it could not read
// what it writes there.
func checkAncestor(dir string) error {
	var mount unix.Statfs_t
	if err := unix.Statfs(dir, &mount); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if mount.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	var info unix.Stat_t
	if err := unix.Stat(dir, &info); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if int(info.Uid) == os.Geteuid() || unix.Access(dir, unix.W_OK) == nil {
		return impossible("mount the credential read-only below a directory that the agent's user cannot write, and do not run the agent as root",
			"the agent's user may write to %s, above them", dir)
	}
	return nil
}

// ruleset allows reading beneath every sibling, and moving files everywhere.
func (t tree) ruleset() (_ *os.File, err error) {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handled}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), rulesetSize, 0) //nolint:gosec // golang.org/x/sys has no wrapper
	if errno != 0 {
		return nil, fmt.Errorf("making a Landlock ruleset: %w", errno)
	}
	ruleset := os.NewFile(fd, "landlock")
	defer func() {
		if err != nil {
			err = errors.Join(err, ruleset.Close())
		}
	}()
	if err := allow(ruleset, "/", unix.LANDLOCK_ACCESS_FS_REFER); err != nil {
		return nil, err
	}
	siblings, err := t.siblings()
	if errors.Is(err, fs.ErrPermission) {
		return nil, impossible("let the agent's user list the directories above the credential", "%v", err)
	}
	if err != nil {
		return nil, err
	}
	for _, path := range siblings {
		if err := allow(ruleset, path, unix.LANDLOCK_ACCESS_FS_READ_FILE); err != nil {
			return nil, err
		}
	}
	return ruleset, nil
}

// allow adds a rule for path and what is beneath it. What has gone by now needs
// none.
func allow(ruleset *os.File, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()                                                                                                            // nothing was written
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}                                                               //nolint:gosec // a descriptor fits
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, ruleset.Fd(), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0) //nolint:gosec // as above
	if errno != 0 {
		return fmt.Errorf("adding a Landlock rule for %s: %w", path, errno)
	}
	return nil
}

// Restrict puts the calling thread, and every process that it starts, beneath
// the veil for ever. The caller has locked its goroutine to the thread, and lets
// the goroutine end without unlocking it, so that the runtime throws the thread
// away; it makes no new thread from a locked one.
func (v *Veil) Restrict() error {
	if v == nil {
		return nil
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, v.ruleset.Fd(), 0, 0); errno != 0 {
		return fmt.Errorf("hiding files from a process: %w", errno)
	}
	return nil
}

// Open is os.OpenFile for reading, as a process beneath the veil would do it:
// whatever links lead to, what is hidden stays so.
func (v *Veil) Open(path string, flag int) (*os.File, error) {
	if v == nil {
		return os.OpenFile(path, flag, 0)
	}
	to := make(chan answer, 1)
	v.opens <- request{path, flag, to}
	a := <-to
	if errors.Is(a.err, fs.ErrPermission) {
		a.err = hint.With(a.err, "a job may not read the files that hold the agent's credentials")
	}
	return a.file, a.err
}

// open opens files on a thread of its own until the veil is closed.
func (v *Veil) open() {
	runtime.LockOSThread() // never unlocked: see Restrict
	err := v.Restrict()
	for r := range v.opens {
		a := answer{err: err}
		if err == nil {
			a.file, a.err = os.OpenFile(r.path, r.flag, 0)
		}
		r.to <- a
	}
}

// Close forgets the rules. Processes that were started stay restricted.
func (v *Veil) Close() error {
	if v == nil {
		return nil
	}
	close(v.opens)
	v.opener.Wait()
	return v.ruleset.Close()
}

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
	work chan func() // for the restricted thread
	over sync.WaitGroup
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
	for _, path := range t.hidden {
		// A mount that is hidden as a whole must not be one that jobs work in.
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if err := checkAncestor(path); err != nil {
				return nil, err
			}
		}
	}
	ruleset, err := t.ruleset()
	if err != nil {
		return nil, fmt.Errorf("hiding files from jobs: %w", err)
	}
	v := &Veil{work: make(chan func())}
	restricted := make(chan error, 1)
	v.over.Go(func() { v.run(ruleset, restricted) })
	if err := <-restricted; err != nil {
		return nil, errors.Join(fmt.Errorf("hiding files from jobs: %w", err), v.Close())
	}
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
			"the agent's user may write to %s, where the credential is", dir)
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

// run puts its thread, and every process that starts from it, beneath the veil
// for ever, and does what it is given. The goroutine ends without unlocking the
// thread, so that the runtime throws it away; nor does it make new threads from
// a locked one.
//
// It never is the process's first thread: that cannot be thrown away, and
// /proc/PID of the agent stands for it, so a job could look into the agent.
func (v *Veil) run(ruleset *os.File, restricted chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		var elsewhere sync.WaitGroup
		elsewhere.Go(func() { v.run(ruleset, restricted) })
		elsewhere.Wait() // with the first thread, so that the other gets another
		runtime.UnlockOSThread()
		return
	}
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset.Fd(), 0, 0)
	err := ruleset.Close()
	if errno != 0 {
		err = errno
	}
	restricted <- err
	for work := range v.work {
		work()
	}
}

// Do calls f on the thread beneath the veil, and returns what f does. Processes
// that f starts are beneath it. One call is made at a time, so f must not wait
// for anything.
//
// All processes of a job come from one thread, and so may look into each other,
// as they are used to, and into no others.
func (v *Veil) Do(f func() error) error {
	if v == nil {
		return f()
	}
	done := make(chan error, 1)
	v.work <- func() { done <- f() }
	return <-done
}

// Open is os.Open, as a process beneath the veil would do it: whatever links lead
// to, what is hidden stays so. It does not wait for the writer of a pipe.
func (v *Veil) Open(path string) (f *os.File, err error) {
	err = v.Do(func() (err error) {
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		return err
	})
	if v != nil && errors.Is(err, fs.ErrPermission) {
		err = hint.With(err, "a job may not read the files that hold the agent's credentials")
	}
	return f, err
}

// Close ends the thread. The processes that were started from it have ended, or
// are killed if they asked for that (PR_SET_PDEATHSIG); those that live on stay
// restricted.
func (v *Veil) Close() error {
	if v == nil {
		return nil
	}
	close(v.work)
	v.over.Wait()
	return nil
}

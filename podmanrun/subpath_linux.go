package podmanrun

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// within opens a part of the volume that lies at place, following no link that leads
// out of it. It refuses one on a machine that we do not see. The file is good for
// looking at what it is, whatever that is, and not for reading.
func (c *Client) within(place string, p part) (*os.File, error) {
	if !c.local() {
		return nil, useJoining(fmt.Errorf("%s: Podman %s follows links out of the volume, and nobody can look there on another machine", p, c.Version()))
	}
	file, err := openBelow(place, p.Path, unix.RESOLVE_BENEATH)
	switch {
	case errors.Is(err, errNoDir), errors.Is(err, errOldKernel):
		return nil, useJoining(fmt.Errorf("%s: Podman %s follows links out of the volume, and it cannot be looked at: %w", p, c.Version(), err))
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%s: it is not there: %w", p, err)
	case errors.Is(err, unix.EXDEV):
		return nil, fmt.Errorf("%s: it cannot be reached within the volume: a link leads out of it", p)
	case err != nil:
		return nil, fmt.Errorf("%s: it cannot be reached within the volume: %w", p, err)
	}
	return file, nil
}

var (
	errNoDir     = errors.New("the directory cannot be opened")
	errOldKernel = errors.New("this kernel opens nothing that is sure to be below a directory, as Linux 5.6 and later do")
)

// openBelow opens what name leads to from the directory dir, to look what it is:
// a socket, and what this user may not read, can be opened so, and a pipe is not
// waited for. How is RESOLVE_BENEATH, which refuses links that lead out of dir and all
// that are absolute, or RESOLVE_IN_ROOT, for which dir is what / is.
//
// The errors are [errNoDir] for dir itself, [errOldKernel], or of name.
func openBelow(dir, name string, how uint64) (*os.File, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoDir, &os.PathError{Op: "open", Path: dir, Err: err})
	}
	defer func() { _ = unix.Close(root) }() // nothing was written
	open := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: how | unix.RESOLVE_NO_MAGICLINKS}
	fd := -1
	// The kernel gives up on "..", which it cannot be sure of while anything anywhere is
	// renamed or mounted.
	for range 100 {
		fd, err = unix.Openat2(root, name, &open)
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	if err == unix.ENOSYS {
		err = errOldKernel
	}
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// mountedIs reports by an error unless a file is what process pid has mounted at
// target. The links above it are followed as the process would.
func mountedIs(file *os.File, pid int, target string) error {
	there, err := openBelow(fmt.Sprintf("/proc/%d/root", pid), path.Clean(target), unix.RESOLVE_IN_ROOT)
	if err != nil {
		return useJoining(err)
	}
	defer func() { _ = there.Close() }() // only looked at
	var want, got unix.Statx_t
	for file, to := range map[*os.File]*unix.Statx_t{file: &want, there: &got} {
		if err := unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO, to); err != nil {
			return os.NewSyscallError("statx", err)
		}
	}
	if want.Ino != got.Ino || want.Dev_major != got.Dev_major || want.Dev_minor != got.Dev_minor {
		return errors.New("it is another file")
	}
	// A directory above the target may be another container's too, which could put
	// the right one in the place of the mount; that one is no mount of its own.
	if got.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && got.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return errors.New("it is no mount of its own")
	}
	return nil
}

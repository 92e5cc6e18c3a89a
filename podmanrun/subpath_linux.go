package podmanrun

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// within opens a part of the volume that lies at place, following no link that leads
// out of it. It refuses one on a machine that we do not see.
func (c *Client) within(place string, p part) (*os.File, error) {
	if !c.local() {
		return nil, useJoining(fmt.Errorf("%s: Podman %s follows links out of the volume, and nobody can look there on another machine", p, c.Version()))
	}
	volume, err := os.OpenRoot(place)
	if err != nil {
		return nil, useJoining(fmt.Errorf("%s: Podman %s follows links out of the volume, and it cannot be looked at: %w", p, c.Version(), err))
	}
	defer func() { _ = volume.Close() }() // only read from
	file, err := openWithin(volume, p.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: it is not there: %w", p, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: it cannot be reached within the volume: %w", p, err)
	}
	return file, nil
}

// openWithin opens a file or directory to look at it; one that is a pipe is not
// waited for.
func openWithin(root *os.Root, name string) (*os.File, error) {
	return root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// mountedIs reports by an error unless a file is what process pid has mounted at
// target.
func mountedIs(file *os.File, pid int, target string) error {
	inside, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return useJoining(err)
	}
	defer func() { _ = inside.Close() }() // only read from
	there, err := openWithin(inside, strings.TrimPrefix(path.Clean(target), "/"))
	if err != nil {
		return useJoining(err)
	}
	defer func() { _ = there.Close() }() // only read from
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

package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// dirPrefix starts the name of every private directory, so that leftovers
	// are found by name. With a random suffix below /tmp it leaves some 80 bytes
	// for the path of a socket.
	dirPrefix = "dl-rig-"
	// lockName is the file whose lock its owner holds until it has cleaned up or
	// died.
	lockName = "owner.lock"
	// adoptAfter is how old a directory without a lock file must be before it
	// counts as left behind: its owner needs microseconds to make the file.
	adoptAfter = time.Minute
)

// privateDir is a directory of one component, locked by its owner.
type privateDir struct {
	path string
	lock *os.File
}

// makeDir makes a private directory, and removes those of dead owners first.
func makeDir(ctx context.Context) (*privateDir, error) {
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return nil, fmt.Errorf("making a private directory: %w", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &privateDir{path: path, lock: lock}, nil
}

// join names something in the directory.
func (d *privateDir) join(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// remove ends what still runs from the directory, unmounts what is mounted
// below it and deletes it.
func (d *privateDir) remove(ctx context.Context) error {
	err := clean(ctx, d.path)
	return errors.Join(err, d.lock.Close())
}

// sweep removes the directories of owners that died before they could.
func sweep(ctx context.Context) error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return fmt.Errorf("looking for leftovers: %w", err)
	}
	for _, dir := range dirs {
		flags := os.O_RDWR // an owner that ends is deleting the file
		if !exists(filepath.Join(dir, lockName)) {
			info, err := os.Stat(dir)
			if err != nil || time.Since(info.ModTime()) < adoptAfter {
				continue
			}
			flags |= os.O_CREATE
		}
		lock, err := lockFile(filepath.Join(dir, lockName), flags)
		if err != nil {
			continue // its owner lives, or another rig is cleaning it
		}
		err = errors.Join(clean(ctx, dir), lock.Close())
		if err != nil {
			return fmt.Errorf("removing what a dead rig left: %w", err)
		}
	}
	return nil
}

// lockDir makes the directory's lock, which nobody sees before it is held. The kernel
// frees it when the owner dies.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	lock, err := lockFile(path+".new", os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", dir, err), lock.Close())
	}
	return lock, nil
}

// lockFile opens a file and takes its lock without waiting.
func lockFile(path string, flags int) (*os.File, error) {
	lock, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), lock.Close())
	}
	return lock, nil
}

// clean removes dir and everything that lives in it. It may be repeated, and
// takes all it needs to know from the directory itself.
func clean(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanTimeout, errCleanTimeout)
	defer cancel()
	var errs []error
	if err := removeContainers(ctx, dir); err != nil {
		errs = append(errs, err)
	}
	if err := killProcesses(ctx, dir); err != nil {
		errs = append(errs, err)
	}
	if err := removeNoted(dir); err != nil {
		errs = append(errs, err)
	}
	if err := unmountBelow(dir); err != nil {
		errs = append(errs, err)
		return errors.Join(errs...) // never delete through a mount
	}
	if err := os.RemoveAll(dir); err != nil {
		errs = append(errs, fmt.Errorf("deleting %s: %w", dir, err))
	}
	return errors.Join(errs...)
}

// unmountBelow unmounts what is mounted below dir, the last mount first.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, point := range slices.Backward(mounts) {
		// Lazily: a process of another mount namespace may hold the mount, and
		// its copy ends with it.
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists the mount points at and below dir in mount order.
func mountsBelow(dir string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		// Field 5 is the mount point (proc(5)); our paths hold no escapes.
		if fields := strings.Fields(line); len(fields) > 4 && isBelow(fields[4], dir) {
			points = append(points, fields[4])
		}
	}
	return points, nil
}

func isBelow(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// killProcesses ends the processes that belong to dir and waits until they
// are gone.
func killProcesses(ctx context.Context, dir string) error {
	for {
		pids, err := processesOf(dir)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d of %s: %w", pid, dir, err)
			}
		}
		if err := retry.Wait(ctx, pollEvery); err != nil {
			return fmt.Errorf("waiting for processes %v of %s to end: %w", pids, dir, err)
		}
	}
}

// processesOf lists the processes that name dir in their arguments (buildkitd,
// conmon, aardvark-dns, …) or whose root file system lies in it (containers).
// This process is never among them, nor is one that has ended and only waits
// for its parent.
func processesOf(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, entry := range entries {
		var pid int
		if _, err := fmt.Sscanf(entry.Name(), "%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if namesDir(pid, dir) || rootIsIn(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// namesDir reports whether an argument of the process is in dir: the path
// itself, or the path after a "=" or a scheme.
func namesDir(pid int, dir string) bool {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false // gone meanwhile
	}
	for arg := range strings.SplitSeq(string(args), "\x00") {
		for _, lead := range []string{"", "unix://"} {
			_, value, _ := strings.Cut(arg, "=")
			if isBelow(strings.TrimPrefix(arg, lead), dir) || isBelow(strings.TrimPrefix(value, lead), dir) {
				return true
			}
		}
	}
	return false
}

// rootIsIn reports whether the process's root is a mount made of dir, as a
// container's overlay is.
func rootIsIn(pid int, dir string) bool {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false // ended; its table cannot be read any more
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "/" && strings.Contains(line, dir+"/") {
			return true
		}
	}
	return false
}

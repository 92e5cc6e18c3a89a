package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

// binfmtDir is where the kernel is told which program runs which kind of file.
const binfmtDir = "/proc/sys/fs/binfmt_misc"

// emulatorLock is held shared by every test that needs emulators: what the kernel
// was told holds for the whole machine. Its content is what there is to undo.
const emulatorLock = "/run/lock/dockless-rig-emulator.lock"

// foreign is one architecture that the machine can emulate: the first bytes of its
// programs, with those bits that count (the ELF header up to the machine).
type foreign struct{ name, interpreter, magic, mask string }

// foreignArch is the one that tests build for beside the machine's own.
func foreignArch() (platform string, f foreign) {
	const mask = `\xff\xff\xff\xff\xff\xfe\xfe\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`
	if runtime.GOARCH == "arm64" {
		return "linux/amd64", foreign{"qemu-x86_64", "qemu-x86_64-static", `\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00`, mask}
	}
	return "linux/arm64", foreign{"qemu-aarch64", "qemu-aarch64-static", `\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`, strings.Replace(mask, `\xfe\xfe`, `\xff\xff`, 1)}
}

// Platform is the machine's own, as the nodes of a builder name it.
func Platform() string { return "linux/" + runtime.GOARCH }

// StartEmulator sees to it until release is called that the kernel runs programs of
// another architecture, also in containers, and returns its platform: linux/arm64
// on amd64. Call it before buildkitd starts, which looks once. What was not there
// before is taken away when the last one that needs it has released it.
func StartEmulator(ctx context.Context) (platform string, release func() error, err error) {
	if err := needRoot("an emulator"); err != nil {
		return "", nil, err
	}
	platform, arch := foreignArch()
	interpreter, err := Bin(arch.interpreter)
	if err != nil {
		return "", nil, fmt.Errorf("finding an emulator: %w", err)
	}
	lock, err := os.OpenFile(emulatorLock, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("taking turns with others that need an emulator: %w", err)
	}
	release = func() error { return errors.Join(arch.release(lock), lock.Close()) }
	if err := arch.await(ctx, lock, interpreter); err != nil {
		return "", nil, errors.Join(fmt.Errorf("registering an emulator: %w", err), release())
	}
	return platform, release, nil
}

// NeedEmulator is [StartEmulator] until the test ends.
func NeedEmulator(tb testing.TB) string {
	tb.Helper()
	platform, release, err := StartEmulator(tb.Context())
	if err != nil {
		tb.Fatalf("starting an emulator: %v", err)
	}
	tb.Cleanup(func() {
		if err := release(); err != nil {
			tb.Errorf("taking the emulator away: %v", err)
		}
	})
	return platform
}

// await returns with lock held shared and the emulator registered, by whomever.
func (f foreign) await(ctx context.Context, lock *os.File, interpreter string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errStartTimeout)
	defer cancel()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH)
		if err != nil {
			return err
		}
		if ready, err := f.registered(); ready || err != nil {
			return err
		}
		// Changing the lock lets go of it for a moment, in which another test may
		// register the emulator, or take it away as the last one.
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			if err := f.register(lock, interpreter); err != nil {
				return err
			}
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return err
		default:
			if err := retry.Wait(ctx, pollEvery); err != nil {
				return err
			}
		}
	}
}

// register tells the kernel of the emulator if need be, and lock what to undo.
func (f foreign) register(lock *os.File, interpreter string) error {
	if !exists(filepath.Join(binfmtDir, "register")) {
		if err := syscall.Mount("binfmt_misc", binfmtDir, "binfmt_misc", 0, ""); err != nil {
			return hint.With(fmt.Errorf("mounting binfmt_misc at %s: %w", binfmtDir, err), "load the kernel module binfmt_misc, and let root mount file systems")
		}
		if _, err := lock.WriteString("mounted\n"); err != nil {
			return err
		}
	}
	if ready, err := f.registered(); ready || err != nil {
		return err
	}
	// F opens the program now, so that it need not be in the container; P and O
	// as Debian has them.
	line := fmt.Sprintf(":%s:M::%s:%s:%s:OPF", f.name, f.magic, f.mask, interpreter)
	if err := os.WriteFile(filepath.Join(binfmtDir, "register"), []byte(line), 0o200); err != nil {
		return fmt.Errorf("telling the kernel of %s: %w", interpreter, err)
	}
	_, err := lock.WriteString("registered\n")
	return err
}

// registered reports whether the kernel runs the architecture, also where the
// emulator's file is not.
func (f foreign) registered() (bool, error) {
	text, err := os.ReadFile(filepath.Join(binfmtDir, f.name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if flags, ok := strings.CutPrefix(line, "flags:"); ok && strings.Contains(flags, "F") && strings.HasPrefix(string(text), "enabled") {
			return true, nil
		}
	}
	return false, hint.With(fmt.Errorf("%s is registered, but off or without the flag F, which containers need", f.name), "register it anew, as the package binfmt-support does")
}

// release undoes what a test did, unless another one still needs it.
func (f foreign) release(lock *os.File) error {
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil
		}
		return err
	}
	done, err := os.ReadFile(emulatorLock)
	if err != nil {
		return err
	}
	var errs []error
	if strings.Contains(string(done), "registered\n") {
		errs = append(errs, os.WriteFile(filepath.Join(binfmtDir, f.name), []byte("-1"), 0o200))
	}
	if strings.Contains(string(done), "mounted\n") {
		if err := syscall.Unmount(binfmtDir, 0); err != nil && !errors.Is(err, syscall.EBUSY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, lock.Truncate(0))...)
}

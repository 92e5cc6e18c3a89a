//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// What keeps a slot from being locked is said, unless it is somebody else's lock,
// and the slot stays free.
func TestASlotThatCannotBeLockedIsNotTaken(t *testing.T) {
	w, err := Join(filepath.Join(t.TempDir(), "page"))
	if err != nil {
		t.Fatal(err)
	}
	file := w.file
	if w.file, err = os.Open(w.path); err != nil { // the kernel refuses to lock what cannot be written
		t.Fatal(err)
	}
	if _, err := w.Slot("poll", time.Minute); !errors.Is(err, syscall.EBADF) || errors.Is(err, ErrFull) {
		t.Errorf("Slot on a file that cannot be locked = %v, want EBADF", err)
	}
	if o := w.page.ownerOf(0); o != 0 {
		t.Errorf("its owner is %#x, want none", uint64(o))
	}
	if err := w.file.Close(); err != nil {
		t.Error(err)
	}
	w.file = file
	if _, err := w.Slot("poll", time.Minute); err != nil {
		t.Errorf("and then: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

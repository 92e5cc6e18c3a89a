//go:build linux && (amd64 || arm64)

package probe

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	// ErrOwned is returned by [Create] when a living process writes the page.
	ErrOwned = errors.New("another process writes this probe page")
	// ErrFull is returned by [Writer.Slot] when all slots are in use.
	ErrFull = errors.New("the probe page has no free slot")
)

// clockStep is how often the clock that beats copy goes on. Two wake-ups a
// second keep an idle agent below a thousandth of a core (ten a second took
// 0.16 %), and a time that is off by half a second matters to no probe: they
// come a second apart at most, and ages are counted in many of those.
const clockStep = 500 * time.Millisecond

// Writer owns a page. Its methods may be called concurrently. A nil Writer is
// one that writes nowhere: its slots are nil and beat nowhere, so that a
// process without a page needs no second code path.
type Writer struct {
	path  string
	file  *os.File
	page  *page
	clock atomic.Int64 // what beats copy: CLOCK_BOOTTIME at the last step

	stop    chan struct{} // closed by Close
	stopped chan struct{} // closed by keepTime when it returns

	mu     sync.Mutex
	slots  []*Slot
	closed bool
}

// Create makes the page in file path, or takes over the one that a dead
// process left, and starts its clock, which [Writer.Close] stops. The page is
// readable by everyone and has no slot in use. It returns an error that is
// [ErrOwned] when the page has a writer, in this process or another.
func Create(path string) (*Writer, error) {
	w, err := create(path)
	if err != nil {
		return nil, fmt.Errorf("creating probe page %s: %w", path, err)
	}
	// A constructor that starts a goroutine: beats are wrong without it, so
	// there must be no moment at which one could forget to.
	go w.keepTime()
	return w, nil
}

func create(path string) (_ *Writer, err error) {
	file, err := openOwned(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	// Not through size 0: a reader that has the page of a dead writer mapped
	// would be killed by its next look at it.
	if err := errors.Join(file.Truncate(PageSize), file.Chmod(pageMode)); err != nil {
		return nil, err
	}
	p, errno := mapPage(int(file.Fd()), syscall.PROT_READ|syscall.PROT_WRITE)
	if errno != 0 {
		return nil, fmt.Errorf("mapping it: %w", errno)
	}
	w := &Writer{path: path, file: file, page: p, stop: make(chan struct{}), stopped: make(chan struct{})}
	if err := w.sign(); err != nil {
		unmap(p)
		return nil, err
	}
	return w, nil
}

// pageMode lets every probe read the page and nobody else write it.
const pageMode = 0o644

// openOwned opens file path for writing and locks it. The lock is bound to the
// open file, so it goes when the process does, however that happens.
func openOwned(path string) (*os.File, error) {
	// Another owner may remove the file between our opening and locking it;
	// then we hold the lock of a file nobody can find. Each turn of the loop
	// needs such an owner, so a few are enough.
	for range 10 {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, pageMode)
		if err != nil {
			return nil, err
		}
		found, err := lockOwned(file, path)
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		if found {
			return file, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
	return nil, ErrOwned
}

// lockOwned reports whether file, now locked, is still the one at path.
func lockOwned(file *os.File, path string) (bool, error) {
	mine, err := file.Stat()
	if err != nil {
		return false, err
	}
	stat, ok := mine.Sys().(*syscall.Stat_t)
	switch {
	case !mine.Mode().IsRegular():
		return false, errors.New("it is not a regular file")
	case ok && int(stat.Uid) != os.Geteuid():
		// In a directory everyone may write to, whoever made the file could
		// still have it open and write beats of their own.
		return false, fmt.Errorf("it belongs to user %d, not to %d", stat.Uid, os.Geteuid())
	}
	if _, errno := lock(int(file.Fd()), ofdSetLock); errno == syscall.EAGAIN || errno == syscall.EACCES {
		return false, ErrOwned
	} else if errno != 0 {
		return false, fmt.Errorf("locking it: %w", errno)
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

// sign clears the page, the magic first, and fills in the header, the magic
// last: without it, no reader believes anything else.
func (w *Writer) sign() error {
	pid := uint64(os.Getpid()) //nolint:gosec // not negative
	start, errno := startTime(pid)
	switch {
	case errno != 0:
		return fmt.Errorf("reading the start time of this process: %w", errno)
	case start == 0:
		return fmt.Errorf("/proc/%d/stat does not give the start time of this process", pid)
	}
	boot := bootHash()
	if boot == 0 {
		return errors.New("the kernel's boot id cannot be read")
	}
	for word := range w.page {
		w.page.store(word, 0)
	}
	now := boottime()
	w.clock.Store(now)
	w.page.store(versionWord, version|Slots<<32)
	w.page.store(bootWord, boot)
	w.page.store(pidWord, pid)
	w.page.store(startWord, start)
	w.page.store(namespaceWord, pidNamespace())
	w.page.store(stepWord, uint64(clockStep))
	w.page.store(createdWord, uint64(now)) //nolint:gosec // not negative
	w.page.store(magicWord, magic)
	return nil
}

// keepTime moves the clock on until Close.
func (w *Writer) keepTime() {
	defer close(w.stopped)
	ticker := time.NewTicker(clockStep)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.clock.Store(boottime())
		case <-w.stop:
			return
		}
	}
}

// Slot takes a free slot, in state [Starting] and just beaten, for a loop that
// beats at least every allowedAge, which is more than zero and at most a year.
// A name has one to 31 letters, digits, dots, dashes and underscores. The slot
// of a name already taken is the same one, started anew.
//
// It returns [ErrFull] when there is no free slot, and another error when the
// name or the age is not allowed or the writer is closed. A nil Writer returns
// a nil Slot.
func (w *Writer) Slot(name string, allowedAge time.Duration) (*Slot, error) {
	if w == nil {
		return nil, nil //nolint:nilnil // a nil Slot is a valid one that beats nowhere
	}
	if err := checkSlot(name, allowedAge); err != nil {
		return nil, fmt.Errorf("taking probe slot %q: %w", name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, fmt.Errorf("taking probe slot %q: the page is closed", name)
	}
	n := 0
	for n < len(w.slots) && w.slots[n].name != name {
		n++
	}
	switch {
	case n == Slots:
		return nil, fmt.Errorf("taking probe slot %q: %w", name, ErrFull)
	case n == len(w.slots):
		w.slots = append(w.slots, &Slot{name: name, page: w.page, at: slot(n), beat: &w.page[slot(n)+beatWord], clock: &w.clock})
		w.page.setName(n, name)
	}
	s := w.slots[n]
	s.Allow(allowedAge)
	s.Set(Starting, ReasonNone)
	return s, nil
}

func checkSlot(name string, allowedAge time.Duration) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("the name has %d bytes, not 1 to %d", len(name), MaxName)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fmt.Errorf("the name has the character %q", name[i])
		}
	}
	if allowedAge <= 0 || uint64(allowedAge) > maxAllowed {
		return fmt.Errorf("the allowed age is %v, not above zero and at most a year", allowedAge)
	}
	return nil
}

// Close marks every slot stopped, stops the clock and removes the page's file.
// Slots may still be used; nobody sees it. A second Close does nothing, nor
// does that of a nil Writer.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	for _, s := range w.slots {
		s.Set(Stopped, ReasonFinished)
	}
	close(w.stop)
	<-w.stopped
	// The mapping stays, one page of a file without a name: a loop that beats
	// once more must not crash. Removed first, so that the lock still keeps
	// the next owner away from a file that is about to go.
	err := os.Remove(w.path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, w.file.Close()); err != nil {
		return fmt.Errorf("closing probe page %s: %w", w.path, err)
	}
	return nil
}

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
	// ErrOwned is returned by [Create] and [Join] when a living process has the page,
	// and by [Writer.Slot] when one has a slot of that name.
	ErrOwned = errors.New("it belongs to another process")
	// ErrFull is returned by [Writer.Slot] when all slots are in use.
	ErrFull = errors.New("the probe page has no free slot")
)

// clockStep is how often the clock that beats copy goes on. Two wake-ups a
// second keep an idle agent below a thousandth of a core (ten a second took
// 0.16 %), and a time that is off by half a second matters to no probe: they
// come a second apart at most, and ages are counted in many of those.
const clockStep = 500 * time.Millisecond

// Writer is one process' way to a page, which it has for itself or shares. Its
// methods may be called concurrently. A nil Writer is one that writes nowhere: its
// slots are nil and beat nowhere, so that a process without a page needs no second
// code path.
type Writer struct {
	path  string
	file  *os.File
	page  *page
	owner owner         // this process, as its slots name it
	clock atomic.Uint64 // what beats copy: CLOCK_BOOTTIME at the last step

	stop    chan struct{} // closed by Close
	stopped chan struct{} // closed by keepTime when it returns

	mu     sync.Mutex
	slots  []*Slot
	closed bool
}

// Create makes the page in file path for this process alone, or takes over the one
// that dead processes left, and starts its clock, which [Writer.Close] stops. The
// page is readable by everyone and has no slot in use.
//
// It returns an error that is [ErrOwned] when a living process has the file open.
func Create(path string) (*Writer, error) { return start(path, false) }

// Join is Create for a page that several processes of one user share, each with
// slots of its own: it opens the page that others have joined, or makes it. Every
// answer is about all of them.
//
// It returns an error that is [ErrOwned] when a living process has the page for itself,
// or uses the file for something else.
func Join(path string) (*Writer, error) { return start(path, true) }

func start(path string, shared bool) (*Writer, error) {
	w, err := create(path, shared)
	if err != nil {
		return nil, fmt.Errorf("opening probe page %s: %w", path, err)
	}
	// A constructor that starts a goroutine: beats are wrong without it, so
	// there must be no moment at which one could forget to.
	go w.keepTime()
	return w, nil
}

func create(path string, shared bool) (_ *Writer, err error) {
	file, alone, err := enter(path, shared)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if alone {
		// Not through size 0: a reader that has the page of a dead writer mapped
		// would be killed by its next look at it.
		if err := errors.Join(file.Truncate(PageSize), file.Chmod(pageMode)); err != nil {
			return nil, err
		}
	}
	if about, err := file.Stat(); err != nil || about.Size() != PageSize {
		return nil, errors.Join(err, fmt.Errorf("it is no file of %d bytes: %w", PageSize, ErrOwned))
	}
	p, errno := mapPage(int(file.Fd()), syscall.PROT_READ|syscall.PROT_WRITE)
	if errno != 0 {
		return nil, fmt.Errorf("mapping it: %w", errno)
	}
	w := &Writer{path: path, file: file, page: p, stop: make(chan struct{}), stopped: make(chan struct{})}
	w.clock.Store(uint64(boottime())) //nolint:gosec // not negative
	if err := w.sign(alone); err != nil {
		unmap(p)
		return nil, err
	}
	if alone && shared {
		if _, errno := lockHeader(file, syscall.F_RDLCK); errno != 0 { // lets others in
			unmap(p)
			return nil, fmt.Errorf("sharing it: %w", errno)
		}
	}
	return w, nil
}

// sign says who we are, and when nobody else has the page makes it anew: it clears
// it, the magic first, and fills in the header, the magic last. Without it, no
// reader believes anything else.
func (w *Writer) sign(alone bool) error {
	pid := uint64(os.Getpid()) //nolint:gosec // not negative
	start, errno := startTime(pid)
	switch {
	case errno != 0:
		return fmt.Errorf("reading the start time of this process: %w", errno)
	case start == 0:
		return fmt.Errorf("/proc/%d/stat does not give the start time of this process", pid)
	}
	boot, namespace := bootHash(), pidNamespace()
	if boot == 0 {
		return errors.New("the kernel's boot id cannot be read")
	}
	if alone {
		for word := range w.page {
			w.page.store(word, 0)
		}
		w.page.store(versionWord, version|Slots<<32)
		w.page.store(bootWord, boot)
		w.page.store(pidWord, pid)
		w.page.store(startWord, start)
		w.page.store(namespaceWord, namespace)
		w.page.store(createdWord, w.clock.Load())
		w.page.store(magicWord, magic)
	}
	if ok, refusal := w.page.checkHeader(nil, evidence{boot: boot}); !ok {
		return fmt.Errorf("%s: %w", refusal, ErrOwned)
	}
	there := w.page.load(namespaceWord)
	w.owner = makeOwner(pid, start, there != 0 && there != namespace)
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
			w.clock.Store(uint64(boottime())) //nolint:gosec // not negative
		case <-w.stop:
			return
		}
	}
}

// Slot takes a free slot, in state [Starting] and just beaten, for a loop that
// beats at least every allowedAge, which is more than zero and at most a year.
// A name has one to 23 letters, digits, dots, dashes and underscores. The slot
// of a name that this Writer has already is the same one, started anew; the one
// that a dead process left under it is taken over.
//
// It returns [ErrOwned] when somebody else who lives has a slot of that name,
// [ErrFull] when there is no free slot, and another error when the name or the age
// is not allowed or the writer is closed. A nil Writer returns a nil Slot.
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
	for _, s := range w.slots {
		if s.name == name {
			s.Allow(allowedAge)
			s.Set(Starting, ReasonNone)
			return s, nil
		}
	}
	s, err := w.claim(name, allowedAge)
	if err != nil {
		return nil, fmt.Errorf("taking probe slot %q: %w", name, err)
	}
	w.slots = append(w.slots, s)
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

// Close releases every slot, see [Slot.Release], stops the clock, and removes the
// page's file unless others have it open. A second Close does nothing, nor does
// that of a nil Writer.
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
		s.moveTo(&s.grave)
		w.giveBack(s.n)
	}
	close(w.stop)
	<-w.stopped
	// The mapping stays: who looks at the page of a Writer that is closed must not
	// crash.
	if err := errors.Join(w.leave(), w.file.Close()); err != nil {
		return fmt.Errorf("closing probe page %s: %w", w.path, err)
	}
	return nil
}

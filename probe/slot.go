//go:build linux && (amd64 || arm64)

package probe

import (
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// Slot is one loop's place on the page. Its methods may be called
// concurrently. A nil Slot writes nowhere.
type Slot struct {
	name   string
	writer *Writer
	n      int                        // where it is on the page
	status status                     // what its state and reason stand in
	memory atomic.Pointer[slotMemory] // its words on the page; grave once it was released
	beat   atomic.Pointer[uint64]     // that of its words, so that Beat is small enough to be inlined
	clock  *atomic.Uint64
	grave  slotMemory // where a released slot beats
}

// moveTo lets the slot write to memory, and returns where it wrote before.
func (s *Slot) moveTo(memory *slotMemory) *slotMemory {
	s.beat.Store(&memory[beatWord])
	return s.memory.Swap(memory)
}

// Beat says that the loop has come round again: one store, no system call. The
// time stored is that of the writer's clock, so up to half a second old, which the
// page's reader allows for; a clock that stands still with its process makes
// beats look older than they are, never younger.
func (s *Slot) Beat() {
	if s != nil {
		storeRelease(s.beat.Load(), s.clock.Load())
	}
}

// Set beats and changes the slot's state and the reason for it, both at once.
func (s *Slot) Set(state State, reason Reason) {
	if s != nil {
		s.Beat()
		atomic.StoreUint64(&s.memory.Load()[stateWord], uint64(s.status.with(state, reason)))
	}
}

// Allow beats and changes the age that the slot allows itself, for a phase
// that takes longer than the others. It is cut to between 1 ns and a year.
func (s *Slot) Allow(age time.Duration) {
	if s != nil {
		s.Beat()
		atomic.StoreUint64(&s.memory.Load()[allowedWord], min(uint64(max(age, 1)), maxAllowed))
	}
}

// Count adds n to the slot's counter, which counts whatever the writer likes:
// rounds, jobs, frames. It is shown, not judged, and it is no beat.
func (s *Slot) Count(n uint64) {
	if s != nil {
		atomic.AddUint64(&s.memory.Load()[counterWord], n)
	}
}

// Release gives the slot back, to whoever asks next: the page says nothing of this
// loop any more. What the slot is told afterwards goes nowhere; the caller sees to
// it that nothing is told to it at the same time, which could reach the next owner.
// A second Release does nothing, nor does one after [Writer.Close].
func (s *Slot) Release() {
	if s == nil {
		return
	}
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.moveTo(&s.grave) == &s.grave {
		return
	}
	w.slots = slices.DeleteFunc(w.slots, func(other *Slot) bool { return other == s })
	w.giveBack(s.n)
}

// giveBack frees slot n, which is ours. The lock goes before the name of the
// owner does, or the next one could not take it.
func (w *Writer) giveBack(n int) {
	w.page.store(slot(n)+ownerWord, uint64(w.owner|ownerMoving))
	_ = lockSlot(int(w.file.Fd()), n, syscall.F_UNLCK) // cannot fail for a range that fits the file
	w.page.store(slot(n)+ownerWord, 0)
}

//go:build linux && (amd64 || arm64)

package probe

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// claim takes a slot for the name, without waiting for anybody: one
// compare-and-swap of its first word decides whose it is. It returns an error
// that is [ErrOwned] when a living process has a slot of that name, and one that is
// [ErrFull] when there is none to take.
func (w *Writer) claim(name string, allowed time.Duration) (*Slot, error) {
	var seen sight
	for range claimTurns {
		seen.see(w.page, int(w.file.Fd()), w.owner)
		if n := seen.living(name, -1); n >= 0 {
			return nil, seen.taken(n)
		}
		n := seen.best(name)
		if n < 0 {
			return nil, ErrFull
		}
		was := seen.page.ownerOf(n)
		if !atomic.CompareAndSwapUint64(&w.page[slot(n)], uint64(was), uint64(w.owner|ownerMoving)) {
			continue
		}
		errno := lockSlot(int(w.file.Fd()), n, syscall.F_WRLCK)
		if errno != 0 {
			w.page.store(slot(n)+ownerWord, uint64(was))
		}
		if isHeld(errno) {
			// A child that the dead owner forked has the file open, still, which
			// it has until it starts its program.
			<-time.After(enterPause)
			continue
		}
		if errno != 0 {
			return nil, fmt.Errorf("locking the slot: %w", errno)
		}
		s := w.furnish(n, name, allowed)
		// Another process may have claimed the name at the same time. Each
		// looks after it has shown its own, so that one of them sees the other.
		seen.see(w.page, int(w.file.Fd()), w.owner)
		if other := seen.living(name, n); other >= 0 {
			w.giveBack(n)
			return nil, seen.taken(other)
		}
		return s, nil
	}
	return nil, fmt.Errorf("every slot goes to somebody else, or is held by a child of the process that left it: %w", ErrFull)
}

// claimTurns is how often a slot may go to another process first, of which there
// are at most as many as slots, and bounds the wait for a dead one's child.
const claimTurns = 2 * Slots

// furnish fills in slot n, which we are claiming, and shows it.
func (w *Writer) furnish(n int, name string, allowed time.Duration) *Slot {
	s := &Slot{name: name, writer: w, n: n, clock: &w.clock}
	s.status = w.page.statusOf(n).next(clockStep)
	s.moveTo(w.page.memory(n))
	w.page.store(slot(n)+stateWord, uint64(s.status)) // a reader that copies what was sees it change hands
	for i, word := range nameWords(name) {
		w.page.store(slot(n)+nameWord+i, word)
	}
	w.page.store(slot(n)+counterWord, 0)
	s.Allow(allowed)
	s.Set(Starting, ReasonNone)
	w.page.store(slot(n)+ownerWord, uint64(w.owner))
	return s
}

// living returns the slot of that name, other than except, whose owner is there
// or may be; -1 when there is none.
func (s *sight) living(name string, except int) int {
	for n := range Slots {
		if n != except && s.asked(n, Query{Slot: name}) && s.fates[n] != fateGone {
			return n
		}
	}
	return -1
}

func (s *sight) taken(n int) error {
	return fmt.Errorf("process %d has the slot of this name: %w", s.page.ownerOf(n).pid(), ErrOwned)
}

// best returns the slot to claim for a name: the one that a dead process left under
// it, else a free one, else one of a dead process that nobody misses, because
// it had ended its loop, or had not shown it yet. A slot in which a loop died is
// left as it is: that is bad news, and stays so until somebody takes up its name.
func (s *sight) best(name string) int {
	free, left := -1, -1
	for n := range Slots {
		o := s.page.ownerOf(n)
		switch {
		case o == 0:
			if free < 0 {
				free = n
			}
		case s.fates[n] != fateGone:
		case o.inUse() && s.page.hasName(n, name):
			return n
		case left < 0 && (!o.inUse() || s.page.statusOf(n).state() == Stopped):
			left = n
		}
	}
	if free >= 0 {
		return free
	}
	return left
}

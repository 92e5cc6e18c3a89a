//go:build linux && (amd64 || arm64)

package probe

import (
	"sync/atomic"
	"time"
)

// Slot is one loop's place on the page. Its methods may be called
// concurrently. A nil Slot writes nowhere.
type Slot struct {
	name  string
	page  *page
	at    int     // index of its first word
	beat  *uint64 // its word of the page
	clock *atomic.Int64
}

// Beat says that the loop has come round again: one store, no system call. The
// time stored is that of the writer's clock, so up to half a second old, which the
// page's reader allows for; a clock that stands still with its process makes
// beats look older than they are, never younger.
func (s *Slot) Beat() {
	if s != nil {
		storeRelease(s.beat, uint64(s.clock.Load())) //nolint:gosec // not negative
	}
}

// Set beats and changes the slot's state and the reason for it, both at once.
func (s *Slot) Set(state State, reason Reason) {
	if s != nil {
		s.Beat()
		s.page.store(s.at+stateWord, uint64(state)|uint64(reason)<<32)
	}
}

// Allow beats and changes the age that the slot allows itself, for a phase
// that takes longer than the others. It is cut to between 1 ns and a year.
func (s *Slot) Allow(age time.Duration) {
	if s != nil {
		s.Beat()
		s.page.store(s.at+allowedWord, min(uint64(max(age, 1)), maxAllowed))
	}
}

// Count adds n to the slot's counter, which counts whatever the writer likes:
// rounds, jobs, frames. It is shown, not judged, and it is no beat.
func (s *Slot) Count(n uint64) {
	if s != nil {
		atomic.AddUint64(&s.page[s.at+counterWord], n)
	}
}

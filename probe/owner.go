//go:build linux && (amd64 || arm64)

package probe

import "syscall"

// owner is the first word of a slot, which says whose it is. One word, so that a
// slot is claimed and given back at once, and so that whoever claims one and is
// killed at any instant has left a name.
//
//	bits 0–21   the process id; Linux has none above 2²²
//	bit 22      the slot is being claimed or given back: it does not count
//	bit 23      the owner is in another process id namespace than the page
//	bits 24–63  its start time in clock ticks since boot
//
// Zero is nobody.
type owner uint64

const (
	ownerPid     = owner(1<<22 - 1)
	ownerMoving  = owner(1 << 22)
	ownerForeign = owner(1 << 23)
	startBits    = 24
)

func makeOwner(pid, start uint64, foreign bool) owner {
	o := owner(pid)&ownerPid | owner(start)<<startBits
	if foreign {
		o |= ownerForeign
	}
	return o
}

func (o owner) pid() uint64   { return uint64(o & ownerPid) }
func (o owner) inUse() bool   { return o != 0 && o&ownerMoving == 0 }
func (o owner) foreign() bool { return o&ownerForeign != 0 }

// fate says what became of the process that owns a slot.
type fate int

const (
	fateUnknown fate = iota // it could not be found out
	fateAlive
	fateGone
)

// sight is a page as a reader copied it, each slot whole, with what became of the
// slots' owners.
type sight struct {
	page  page
	fates [Slots]fate
	fd    int
	self  owner // the process that looks, if it has slots
	of    owner // the process of [Query.Process]; zero has no slots
	apart bool  // who looks counts processes differently than the page
}

// see copies p, the file of which is fd, for a process that has slots as self, or none.
func (s *sight) see(p *page, fd int, self owner) {
	s.fd, s.self = fd, self
	for i := range headerWords {
		s.page[i] = p.load(i)
	}
	if s.page[magicWord] != magic || s.page[versionWord] != version|Slots<<32 {
		return // what looks like slots is none
	}
	here, there := pidNamespace(), s.page[namespaceWord]
	s.apart = there != 0 && here != there
	for n := range Slots {
		s.fates[n] = s.look(p, n)
	}
}

// ownerHere is the process of that id, as its slots on the page name it; zero when
// there is none.
func (s *sight) ownerHere(process int) owner {
	if process <= 0 {
		return 0
	}
	start, errno := startTime(uint64(process))
	if errno != 0 || start == 0 {
		return 0
	}
	return makeOwner(uint64(process), start, s.apart)
}

// looks is how often a slot may change hands while it is looked at. It takes a
// process longer to claim one than to copy one, so a second look is rare.
const looks = 1000

// look copies slot n and finds out about its owner. A process that gave its slot
// back and ended between the two is not gone, it left: then look looks again.
func (s *sight) look(p *page, n int) fate {
	for range looks {
		if !s.copySlot(p, n) {
			continue
		}
		o := s.page.ownerOf(n)
		if o == 0 {
			return fateUnknown
		}
		if f := s.fate(n, o); f != fateGone || p.ownerOf(n) == o && sameTurn(p.statusOf(n), s.page.statusOf(n)) {
			return f
		}
	}
	return fateUnknown
}

// copySlot reports whether the slot stayed the same claim while it was copied.
// Of one that is free or moving only the first word is copied.
func (s *sight) copySlot(p *page, n int) bool {
	at := slot(n)
	o := p.ownerOf(n)
	s.page[at] = uint64(o)
	if !o.inUse() {
		return true
	}
	for i := at + 1; i < at+slotWords; i++ {
		s.page[i] = p.load(i)
	}
	return sameTurn(p.statusOf(n), s.page.statusOf(n)) && p.ownerOf(n) == o
}

func sameTurn(a, b status) bool { return a&turnMask == b&turnMask }

// fate finds out whether o, which owns slot n, is still there: by its process id
// and start time, or, where process ids mean something else, by the slot's lock.
func (s *sight) fate(n int, o owner) fate {
	if s.self != 0 && (o^s.self)&^ownerMoving == 0 {
		return fateAlive // ours: a lock that we hold is one that we do not see
	}
	if s.apart || o.foreign() {
		if o&ownerMoving != 0 {
			return fateUnknown // it may not have taken the lock yet
		}
		locked, errno := lock(s.fd, ofdGetLock, syscall.F_WRLCK, int64(slot(n)*8), slotWords*8)
		switch {
		case errno != 0:
			return fateUnknown
		case locked:
			return fateAlive
		}
		return fateGone
	}
	for m := range n { // most slots are of one process
		if (s.page.ownerOf(m)^o)&^ownerMoving == 0 && s.fates[m] == fateAlive {
			return fateAlive
		}
	}
	start, errno := startTime(o.pid())
	switch {
	case errno != 0:
		return fateUnknown
	case start != 0 && owner(start)<<startBits == o>>startBits<<startBits:
		return fateAlive
	}
	return fateGone
}

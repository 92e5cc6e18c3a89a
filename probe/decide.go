//go:build linux && (amd64 || arm64)

package probe

import "time"

// Question is what a reader wants to know.
type Question int

// The questions. A page is live when every slot in use that is not stopped has
// beaten within the age it allows, in whatever state. It is ready when it is
// live and those slots are all in state [Ready]. With no such slot it is neither.
const (
	IsLive Question = iota
	IsReady
)

// Query narrows a question. The zero Query asks about every slot, each by the
// age that it allows itself.
type Query struct {
	Slot   string        // only the slot of this name, when not empty
	MaxAge time.Duration // the age allowed, when not zero, instead of each slot's own
	// Process asks only about the slots of the process that has this id where the
	// question is asked, when not zero.
	Process int
}

// evidence is what a reader knows besides the page.
type evidence struct {
	boot uint64 // hash of this boot's id
	now  int64  // CLOCK_BOOTTIME, read after the beats were written
}

// complaint is what is wrong with a slot.
type complaint int

const (
	fine complaint = iota
	ownerGone
	ownerInDoubt
	oddAllowance
	noBeat
	futureBeat
	oldBeat
	wrongState
)

// decide answers the question and appends the reason, one line without its
// end, to line. It allocates nothing else, so see [CheckFile].
func (s *sight) decide(line []byte, question Question, q Query, e evidence) (bool, []byte) {
	mark := len(line)
	line = append(line, "not "...)
	line = appendQuestion(line, question)
	if ok, refusal := s.page.checkHeader(line, e); !ok {
		return false, refusal
	}
	used, asked, bad := 0, 0, -1
	for n := range Slots {
		if !s.asked(n, q) {
			continue
		}
		used++
		if s.page.statusOf(n).state() == Stopped {
			continue
		}
		asked++
		if bad < 0 && s.judge(n, question, q.MaxAge, e.now) != fine {
			bad = n
		}
	}
	switch {
	case used == 0 && q.Slot != "":
		return false, appendQuoted(append(line, "no slot "...), q.Slot)
	case used == 0 && q.Process != 0:
		line = appendNumber(append(line, "process "...), uint64(q.Process)) //nolint:gosec // shown as it is
		return false, append(line, " has no slot"...)
	case used == 0:
		return false, append(line, "no slot in use"...)
	case asked == 0 && q.Slot != "":
		return false, append(appendQuoted(append(line, "slot "...), q.Slot), " is stopped"...)
	case asked == 0:
		return false, append(line, "every slot is stopped"...)
	case bad >= 0:
		line = s.appendComplaint(line, bad, s.judge(bad, question, q.MaxAge, e.now), q.MaxAge, e.now)
		return false, s.appendAges(line, mark, "; ", bad, question, q, e.now)
	}
	line = append(line[:mark], line[mark+len("not "):]...)
	line = append(appendNumber(line, uint64(asked)), " slot"...)
	if asked > 1 {
		line = append(line, 's')
	}
	return true, s.appendAges(line, mark, ": ", -1, question, q, e.now)
}

// asked reports whether slot n is in use and one that q is about.
func (s *sight) asked(n int, q Query) bool {
	o := s.page.ownerOf(n)
	return o.inUse() && (q.Slot == "" || s.page.hasName(n, q.Slot)) && (q.Process == 0 || o == s.of)
}

func appendQuestion(line []byte, question Question) []byte {
	if question == IsReady {
		return append(line, "ready: "...)
	}
	return append(line, "live: "...)
}

func (p *page) checkHeader(line []byte, e evidence) (bool, []byte) {
	switch {
	case p.load(magicWord) != magic:
		return false, append(line, "the file is not a probe page"...)
	case p.load(versionWord) != version|Slots<<32:
		line = append(line, "the page has version "...)
		line = appendNumber(line, p.load(versionWord)&0xffffffff)
		return false, appendNumber(append(line, ", this reader knows "...), version)
	case e.boot == 0 || p.load(bootWord) != e.boot:
		return false, append(line, "the page is from before the last boot"...)
	}
	return true, line
}

// judge says what is wrong with slot n, which is in use and not stopped.
func (s *sight) judge(n int, question Question, maxAge time.Duration, now int64) complaint {
	status, allowed := s.page.statusOf(n), s.allowed(n, maxAge)
	beat := s.beat(n)
	switch {
	case s.fates[n] == fateGone:
		return ownerGone
	case s.fates[n] != fateAlive:
		return ownerInDoubt
	case allowed == 0 || allowed > maxAllowed || status.step() > maxStep:
		return oddAllowance
	case beat <= 0:
		return noBeat
	case beat > now:
		return futureBeat
	case uint64(now-beat) > allowed+status.step()*1e6: //nolint:gosec // not negative here
		return oldBeat
	case status.state() == 0 || status.state() > Stopped, question == IsReady && status.state() != Ready:
		return wrongState
	}
	return fine
}

func (s *sight) allowed(n int, maxAge time.Duration) uint64 {
	if maxAge > 0 {
		return uint64(maxAge)
	}
	return s.page.load(slot(n) + allowedWord)
}

// beat is the last beat of slot n, which may be any number.
func (s *sight) beat(n int) int64 { return int64(s.page.load(slot(n) + beatWord)) } //nolint:gosec // foreign bytes

// appendComplaint appends what is wrong with slot n: "slot poll: last beat 31s
// ago, allowed 30s (busy)".
func (s *sight) appendComplaint(line []byte, n int, c complaint, maxAge time.Duration, now int64) []byte {
	status := s.page.statusOf(n)
	line = s.page.appendName(append(line, "slot "...), n)
	switch c {
	case ownerGone:
		line = appendNumber(append(line, ": process "...), s.page.ownerOf(n).pid())
		line = append(line, " is gone"...)
	case ownerInDoubt:
		line = appendNumber(append(line, ": cannot tell whether process "...), s.page.ownerOf(n).pid())
		line = append(line, " is alive"...)
	case oddAllowance:
		return append(line, " allows an age that makes no sense"...)
	case noBeat:
		return append(line, " has never beaten"...)
	case futureBeat:
		return append(line, ": last beat is in the future"...)
	case oldBeat:
		line = appendAge(append(line, ": last beat "...), now-s.beat(n))
		line = appendAge(append(line, " ago, allowed "...), int64(s.allowed(n, maxAge))) //nolint:gosec // checked
	case wrongState, fine:
		line = append(append(line, " is "...), status.state().String()...)
	}
	return appendReason(line, status.reason())
}

// longestList is where the list of slots stops to grow, so that the line stays
// one that a person reads, and within [lineSize].
const longestList = 600

// appendAges appends the slots that were asked, but for slot except, with the
// ages of their beats: "poll 12ms, lock 3s", and what is wrong with them in a
// word: "poll 45s of 30s", "lock gone", "builder 1s live". The first goes after
// separator; without any the line stays as it is.
func (s *sight) appendAges(line []byte, mark int, separator string, except int, question Question, q Query, now int64) []byte {
	more := uint64(0)
	for n := range Slots {
		if n == except || !s.asked(n, q) || s.page.statusOf(n).state() == Stopped {
			continue
		}
		if len(line)-mark > longestList {
			more++
			continue
		}
		line = append(s.page.appendName(append(line, separator...), n), ' ')
		separator = ", "
		switch c := s.judge(n, question, q.MaxAge, now); c {
		case ownerGone:
			line = append(line, "gone"...)
		case ownerInDoubt, oddAllowance, noBeat, futureBeat:
			line = append(line, "in doubt"...)
		case fine, oldBeat, wrongState:
			line = appendAge(line, now-s.beat(n))
			if c == oldBeat {
				line = appendAge(append(line, " of "...), int64(s.allowed(n, q.MaxAge))) //nolint:gosec // checked
			}
			if c == wrongState {
				line = append(append(line, ' '), s.page.statusOf(n).state().String()...)
			}
		}
	}
	if more > 0 {
		line = append(appendNumber(append(line, " and "...), more), " more"...)
	}
	return line
}

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
}

// evidence is what a reader knows besides the page.
type evidence struct {
	boot  uint64 // hash of this boot's id
	now   int64  // CLOCK_BOOTTIME, read after the beats were written
	owner ownership
}

// ownership says what became of the process that wrote the page.
type ownership int

const (
	ownerUnknown ownership = iota // it could not be found out
	ownerAlive
	ownerGone
)

// decide answers the question and appends the reason, one line without its
// end, to line. It allocates nothing else, so see [CheckFile].
func (p *page) decide(line []byte, question Question, q Query, e evidence) (bool, []byte) {
	mark := len(line)
	if question == IsReady {
		line = append(line, "not ready: "...)
	} else {
		line = append(line, "not live: "...)
	}
	if ok, refusal := p.checkHeader(line, e); !ok {
		return false, refusal
	}
	used, asked, youngest := 0, 0, int64(0)
	for n := range Slots {
		state := State(p.load(slot(n) + stateWord)) //nolint:gosec // the lower half
		if state == 0 || q.Slot != "" && !p.hasName(n, q.Slot) {
			continue
		}
		used++
		if state == Stopped {
			continue
		}
		asked++
		age, ok, refusal := p.checkBeat(line, n, q.MaxAge, e.now)
		if !ok {
			return false, refusal
		}
		if question == IsReady && state != Ready || state > Stopped {
			return false, p.appendState(p.appendSlot(line, n), n)
		}
		if asked == 1 || age < youngest {
			youngest = age
		}
	}
	switch {
	case used == 0 && q.Slot != "":
		return false, appendQuoted(append(line, "no slot "...), q.Slot)
	case used == 0:
		return false, append(line, "no slot in use"...)
	case asked == 0 && q.Slot != "":
		return false, append(appendQuoted(append(line, "slot "...), q.Slot), " is stopped"...)
	case asked == 0:
		return false, append(line, "every slot is stopped"...)
	}
	line = append(line[:mark], line[mark+len("not "):]...)
	line = appendNumber(line, uint64(asked))
	line = append(line, " slot"...)
	if asked > 1 {
		line = append(line, 's')
	}
	return true, appendAge(append(line, ", youngest beat "...), youngest)
}

func (p *page) checkHeader(line []byte, e evidence) (bool, []byte) {
	switch {
	case p.load(magicWord) != magic:
		return false, append(line, "the file is not a probe page"...)
	case p.load(versionWord) != version|Slots<<32:
		line = append(line, "the page has version "...)
		line = appendNumber(line, p.load(versionWord)&0xffffffff)
		return false, append(line, ", this reader knows 1"...)
	case p.load(stepWord) > maxStep:
		return false, append(line, "the page's clock is too coarse"...)
	case e.boot == 0 || p.load(bootWord) != e.boot:
		return false, append(line, "the page is from before the last boot"...)
	case e.owner == ownerGone:
		line = appendNumber(append(line, "process "...), p.load(pidWord))
		return false, append(line, ", which wrote the page, is gone"...)
	case e.owner != ownerAlive:
		line = appendNumber(append(line, "cannot tell whether process "...), p.load(pidWord))
		return false, append(line, ", which wrote the page, is alive"...)
	}
	return true, line
}

// checkBeat returns the age of slot n's last beat in ns.
func (p *page) checkBeat(line []byte, n int, maxAge time.Duration, now int64) (int64, bool, []byte) {
	allowed := p.load(slot(n) + allowedWord)
	if maxAge > 0 {
		allowed = uint64(maxAge)
	}
	beat := int64(p.load(slot(n) + beatWord)) //nolint:gosec // checked below
	age := now - beat
	switch {
	case allowed == 0 || allowed > maxAllowed:
		return 0, false, append(p.appendSlot(line, n), " allows an age that makes no sense"...)
	case beat <= 0:
		return 0, false, append(p.appendSlot(line, n), " has never beaten"...)
	case beat > now:
		return 0, false, append(p.appendSlot(line, n), ": last beat is in the future"...)
	case uint64(age) > allowed+p.load(stepWord): //nolint:gosec // age is not negative here
		line = appendAge(append(p.appendSlot(line, n), ": last beat "...), age)
		line = appendAge(append(line, " ago, allowed "...), int64(allowed))
		return 0, false, p.appendReason(line, n)
	}
	return age, true, line
}

func (p *page) appendSlot(line []byte, n int) []byte {
	return p.appendName(append(line, "slot "...), n)
}

// appendState appends " is draining (told to)".
func (p *page) appendState(line []byte, n int) []byte {
	line = append(line, " is "...)
	line = append(line, State(p.load(slot(n)+stateWord)).String()...) //nolint:gosec // the lower half
	return p.appendReason(line, n)
}

// appendReason appends " (told to)", or nothing when there is no reason.
func (p *page) appendReason(line []byte, n int) []byte {
	reason := Reason(p.load(slot(n)+stateWord) >> 32)
	if reason == ReasonNone {
		return line
	}
	line = append(line, " ("...)
	line = append(line, reason.String()...)
	if reason > ReasonFailed {
		line = appendNumber(append(line, ' '), uint64(reason))
	}
	return append(line, ')')
}

// appendQuoted appends a name given by the operator, which may be anything.
func appendQuoted(line []byte, name string) []byte {
	for i := range min(len(name), MaxName) {
		c := name[i]
		if c <= ' ' || c > '~' {
			c = '?'
		}
		line = append(line, c)
	}
	return line
}

func appendNumber(line []byte, v uint64) []byte {
	var digits [20]byte
	at := len(digits)
	for {
		at--
		digits[at] = byte('0' + v%10)
		if v /= 10; v == 0 {
			return append(line, digits[at:]...)
		}
	}
}

// appendAge appends ns, not negative, as a person says it: 0ms, 12ms, 31s,
// 2m5s, 3h20m.
func appendAge(line []byte, ns int64) []byte {
	v := uint64(ns) //nolint:gosec // not negative
	const ms, s, m, h = 1e6, 1e9, 60e9, 3600e9
	switch {
	case v < s:
		return append(appendNumber(line, v/ms), "ms"...)
	case v < 10*s && v%s/(s/10) != 0:
		line = append(appendNumber(line, v/s), '.')
		return append(appendNumber(line, v%s/(s/10)), 's')
	case v < m:
		return append(appendNumber(line, v/s), 's')
	case v < h:
		line = append(appendNumber(line, v/m), 'm')
		if v%m/s == 0 {
			return line
		}
		return append(appendNumber(line, v%m/s), 's')
	}
	line = append(appendNumber(line, v/h), 'h')
	if v%h/m == 0 {
		return line
	}
	return append(appendNumber(line, v%h/m), 'm')
}

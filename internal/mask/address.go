package mask

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxPassword bounds the password, and with it what is held back, of an
// address: tokens used as passwords stay below it.
const maxPassword = 8 << 10

// address finds the password in scheme://user:password@host. The password
// goes up to the last @ before a slash, a question mark, a number sign, a
// quote, an angle bracket, a blank or a control character.
type address struct {
	part     part
	scanned  int // bytes read
	password int // where the password begins
	at       int // the last @ behind it, or -1
}

type part byte

const (
	outside part = iota
	colon        // behind ":"
	slash        // behind ":/"
	user         // behind "://"
	password
)

var scheme = []byte("://")

// What a byte ends.
const (
	endsAuthority = 1 << iota // it cannot stand in a user or password
	endsUser                  // as above, or a password follows
	endsPassword              // as above, or the password may end here
)

// stops has what each byte ends.
var stops = func() (table [256]byte) {
	const all = endsAuthority | endsUser | endsPassword
	for c := range ' ' + 1 {
		table[c] = all
	}
	for _, c := range []byte("/?#\"<>`\\\x7f") {
		table[c] = all
	}
	table[':'] |= endsUser
	table['@'] |= endsPassword
	return table
}()

// until returns the first index from i on at which reading a part stops.
func until(text []byte, i int, stop byte) int {
	for i < len(text) && stops[text[i]]&stop == 0 {
		i++
	}
	return i
}

// scan reads the part of text that it has not read yet.
func (a *address) scan(text []byte, hide func(start, end int)) {
	i := a.scanned
	a.scanned = len(text)
	for i < len(text) {
		switch a.part {
		case outside:
			next := schemeEnd(text, i)
			if next < 0 {
				a.suspect(text[i:])
				return
			}
			a.part, i = user, next
			continue
		case user:
			i = until(text, i, endsUser)
		case password:
			i = min(until(text, i, endsPassword), max(i, a.password+maxPassword))
		case colon, slash:
		}
		if i < len(text) {
			a.step(text, i, hide)
			i++
		}
	}
}

// schemeEnd returns the index behind the first "://" in text[from:], or -1. It
// looks for the two slashes, eight bytes at a time: colons and single slashes
// are everywhere in a log, so that stopping at each is slow.
func schemeEnd(text []byte, from int) int {
	const (
		slashes = 0x2F2F2F2F2F2F2F2F
		ones    = 0x0101010101010101
		highs   = 0x0080808080808080 // the last byte's neighbour is not there
	)
	at := from + 1
	for at+8 <= len(text) {
		x := binary.LittleEndian.Uint64(text[at:at+8]) ^ slashes
		x |= x >> 8 // a byte is zero where it and the next are slashes
		// The lowest bit that remains tells the first zero byte.
		zero := (x - ones) &^ x & highs
		if zero == 0 {
			at += 7
			continue
		}
		at += bits.TrailingZeros64(zero) / 8
		if text[at-1] == ':' {
			return at + 2
		}
		at++
	}
	if next := bytes.Index(text[min(at-1, len(text)):], scheme); next >= 0 {
		return at - 1 + next + len(scheme)
	}
	return -1
}

// suspect notes the beginning of "://" at the end of text.
func (a *address) suspect(text []byte) {
	switch {
	case bytes.HasSuffix(text, scheme[:2]):
		a.part = slash
	case bytes.HasSuffix(text, scheme[:1]):
		a.part = colon
	}
}

func (a *address) step(text []byte, i int, hide func(start, end int)) {
	c := text[i]
	switch a.part {
	case colon, slash:
		switch {
		case c == '/' && a.part == slash:
			a.part = user
		case c == '/':
			a.part = slash
		case c == ':':
			a.part = colon
		default:
			a.part = outside
		}
	case user:
		switch {
		case c == ':':
			a.part, a.password, a.at = password, i+1, -1
		case stops[c]&endsAuthority != 0:
			a.part = outside
		}
	case password:
		switch {
		case c == '@':
			a.at = i
		case stops[c]&endsAuthority != 0:
			a.finish(hide)
			if c == '/' && (i == a.password || text[i-1] == ':') {
				a.part = slash // "host://": another address begins
			}
		case i-a.password >= maxPassword:
			a.finish(hide)
		}
	case outside:
	}
}

// finish ends an address.
func (a *address) finish(hide func(start, end int)) {
	if a.part == password && a.at > a.password {
		hide(a.password, a.at)
	}
	a.part = outside
}

// holdFrom is where the password that is being read begins, else n.
func (a *address) holdFrom(n int) int {
	if a.part == password {
		return a.password
	}
	return n
}

func (a *address) release(n int) {
	a.scanned -= n
	a.password -= n
	a.at -= n
}

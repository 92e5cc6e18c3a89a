package mask

import "bytes"

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

// endsAuthority has the bytes that cannot stand in a user or password.
var endsAuthority = func() (table [256]bool) {
	for c := range ' ' + 1 {
		table[c] = true
	}
	for _, c := range []byte("/?#\"<>`\\\x7f") {
		table[c] = true
	}
	return table
}()

// scan reads the part of text that it has not read yet.
func (a *address) scan(text []byte, hide func(start, end int)) {
	i := a.scanned
	a.scanned = len(text)
	for i < len(text) {
		if a.part == outside {
			next := bytes.Index(text[i:], scheme)
			if next < 0 {
				a.suspect(text[i:])
				return
			}
			a.part = user
			i += next + len(scheme)
			continue
		}
		a.step(text, i, hide)
		i++
	}
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
		case endsAuthority[c]:
			a.part = outside
		}
	case password:
		switch {
		case c == '@':
			a.at = i
		case endsAuthority[c]:
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

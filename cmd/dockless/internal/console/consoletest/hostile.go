// Package consoletest knows how to look at what a command shows: it has a terminal
// for a test, and texts that a terminal would obey.
package consoletest

import (
	"slices"
	"unicode"
)

// Hostile is what a peer might say: it names the window, rubs out its line, forges
// another, and turns the order of text around.
const Hostile = "no\x1b]0;owned\a\x1b[2K\r\u009b2J\u202e\x7f\n  ok    forged    1 ms  all is well"

// Obeyed are the parts of text that a terminal would not only show.
func Obeyed(text string) []rune {
	return slices.DeleteFunc([]rune(text), func(r rune) bool {
		return r == '\n' || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r)
	})
}

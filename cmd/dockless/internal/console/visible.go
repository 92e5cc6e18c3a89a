package console

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible is text that a terminal shows and does not obey. Controls are drawn as
// their pictures, and what would turn the order of text around as what cannot be
// read: peers wrote parts of what is told of them.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ':
			return '␀' + r // the pictures stand in the order of the controls
		case r == 0x7f:
			return '␡'
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return utf8.RuneError
		}
		return r
	}, text)
}

// OneLine joins the lines of errors that report several problems at once, and leaves
// a terminal nothing to obey.
func OneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, visible(line))
		}
	}
	return strings.Join(lines, "; ")
}

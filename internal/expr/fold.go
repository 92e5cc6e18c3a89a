package expr

import (
	"strings"
	"unicode"
)

// fold maps text to upper case one character at a time, as ordinal comparison that
// ignores case does. The dotless i, the long s and the sharp s have no upper case there.
func fold(text string) string {
	return strings.Map(foldRune, text)
}

func foldRune(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z':
		return r - ('a' - 'A')
	case r < 0x80, r == 'ı', r == 'ſ', r == 'ß':
		return r
	}
	return unicode.ToUpper(r)
}

func equalFold(a, b string) bool {
	return len(a) == len(b) && a == b || fold(a) == fold(b)
}

// quote spells text as a string literal.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

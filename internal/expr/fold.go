package expr

import (
	"strings"
	"unicode"
)

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

package console

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Columns is the width of the terminal that w is, or zero when it is none: text
// for files and pipes is neither wrapped nor cut.
func Columns(w io.Writer) int {
	f, tty := Terminal(w)
	if !tty {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 40 {
		return 80 // a terminal that does not say, or one that is too small to obey
	}
	return width
}

// Wrap breaks text between words so that it fits beside an indent into width
// columns; zero is no width. A longer word has a line of its own.
func Wrap(text string, indent, width int) string {
	if width <= indent {
		return text
	}
	var b strings.Builder
	used := indent
	for i, word := range strings.Fields(text) {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+length > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			used = indent
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += length
	}
	return b.String()
}

// Cut shortens text to width columns; zero and less are no width.
func Cut(text string, width int) string {
	if width <= 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

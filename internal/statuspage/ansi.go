package statuspage

import "bytes"

// style is how a terminal would draw what follows. Colours are the sixteen of a
// terminal plus one, 0 is none: page and palette change with light and dark, and
// what is nearest to a colour out of millions stays readable in both.
type style struct {
	fg, bg                                          uint8
	bold, dim, italic, underline, strike, backwards bool
}

const escape = 0x1b

// appendText appends text as HTML: escaped, colours as classes, and whatever else
// a terminal would obey left out. A style ends with its line, so that a line looks
// the same in whatever part of a log it is shown.
func appendText(dst, text []byte) []byte {
	if plain(text) {
		return append(dst, text...)
	}
	var now terminal
	var drawn style
	open := false
	for len(text) > 0 {
		if text[0] == escape {
			text = now.control(text)
			continue
		}
		end := bytes.IndexByte(text, escape)
		if end < 0 {
			end = len(text)
		}
		if now.style != drawn {
			if open {
				dst = append(dst, "</span>"...)
			}
			if open = now.style != (style{}); open {
				dst = now.appendStart(dst)
			}
			drawn = now.style
		}
		dst = appendEscaped(dst, text[:end])
		text = text[end:]
	}
	if open {
		dst = append(dst, "</span>"...)
	}
	return dst
}

// plain reports whether text is HTML as it stands, as most of a log is.
func plain(text []byte) bool {
	for _, c := range text {
		if c < ' ' && c != '\t' || c >= 0x7f || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' {
			return false
		}
	}
	return true
}

// terminal is what a line has done so far.
type terminal struct {
	style

	endless bool // no string ends in the rest of the line, which was looked through
}

// control obeys the sequence at the start of text, which begins with an escape,
// and returns what is behind it. Of a sequence that does not end, only the escape
// is left out: nothing that a program printed may disappear by it.
func (t *terminal) control(text []byte) []byte {
	rest := text[1:]
	if len(rest) == 0 {
		return nil
	}
	switch rest[0] {
	case '[':
		return t.csi(rest[1:])
	case ']', 'P', 'X', '^', '_': // strings for the terminal: titles, links, …
		if !t.endless {
			if end, length := stringEnd(rest[1:]); end >= 0 {
				return rest[1+end+length:]
			}
			t.endless = true
		}
		return rest
	}
	n := 0
	for n < len(rest) && rest[n] >= 0x20 && rest[n] <= 0x2f {
		n++
	}
	if n < len(rest) && rest[n] >= 0x30 && rest[n] <= 0x7e {
		return rest[n+1:]
	}
	return rest
}

// stringEnd finds BEL or ESC \ and its length.
func stringEnd(text []byte) (at, length int) {
	for i, c := range text {
		switch {
		case c == 0x07:
			return i, 1
		case c == escape && i+1 < len(text) && text[i+1] == '\\':
			return i, 2
		}
	}
	return -1, 0
}

// csi reads a sequence behind its ESC [.
func (s *style) csi(text []byte) []byte {
	n := 0
	for n < len(text) && text[n] >= 0x30 && text[n] <= 0x3f {
		n++
	}
	parameters := text[:n]
	for n < len(text) && text[n] >= 0x20 && text[n] <= 0x2f {
		n++
	}
	if n == len(text) || text[n] < 0x40 || text[n] > 0x7e {
		return text
	}
	if text[n] == 'm' && n == len(parameters) {
		s.apply(parameters)
	}
	return text[n+1:]
}

// mostParameters is more than the longest colour needs, and bounds a hostile line.
const mostParameters = 32

// apply changes the style by the parameters of an SGR sequence. Colons are read as
// semicolons: what differs between the two nobody draws here.
func (s *style) apply(parameters []byte) {
	var values [mostParameters]int
	n, value := 0, 0
	for i := 0; i <= len(parameters) && n < mostParameters; i++ {
		switch {
		case i == len(parameters), parameters[i] == ';', parameters[i] == ':':
			values[n], value = value, 0
			n++
		case parameters[i] >= '0' && parameters[i] <= '9':
			value = min(value*10+int(parameters[i]-'0'), 1<<16)
		default:
			return // private sequences
		}
	}
	for i := 0; i < n; i++ {
		switch v := values[i]; {
		case v == 38 || v == 48:
			colour, used := extended(values[i+1 : n])
			if i += used; used > 0 && v == 38 {
				s.fg = colour
			} else if used > 0 {
				s.bg = colour
			}
		case v >= 30 && v <= 37:
			s.fg = uint8(v - 30 + 1)
		case v >= 90 && v <= 97:
			s.fg = uint8(v - 90 + 9)
		case v >= 40 && v <= 47:
			s.bg = uint8(v - 40 + 1)
		case v >= 100 && v <= 107:
			s.bg = uint8(v - 100 + 9)
		default:
			s.simple(v)
		}
	}
}

func (s *style) simple(v int) {
	switch v {
	case 0:
		*s = style{}
	case 1:
		s.bold = true
	case 2:
		s.dim = true
	case 3:
		s.italic = true
	case 4, 21:
		s.underline = true
	case 7:
		s.backwards = true
	case 9:
		s.strike = true
	case 22:
		s.bold, s.dim = false, false
	case 23:
		s.italic = false
	case 24:
		s.underline = false
	case 27:
		s.backwards = false
	case 29:
		s.strike = false
	case 39:
		s.fg = 0
	case 49:
		s.bg = 0
	}
}

// appendStart opens the element of a style. A background brings its own colour of
// text along: what programs combine is readable on their author's terminal only.
func (s style) appendStart(dst []byte) []byte {
	fg, bg := s.fg, s.bg
	if s.backwards {
		if fg, bg = bg, fg; bg == 0 {
			bg = 17 // the text's own
		}
	}
	dst = append(dst, `<span class="`...)
	mark := len(dst)
	class := func(on bool, name string) {
		if on {
			if len(dst) > mark {
				dst = append(dst, ' ')
			}
			dst = append(dst, name...)
		}
	}
	switch {
	case bg > 0:
		class(true, colourNames[bg].bg)
	case fg > 0:
		class(true, colourNames[fg].fg)
	}
	class(s.bold, "b")
	class(s.dim && fg == 0 && bg == 0, "dim")
	class(s.italic, "i")
	class(s.underline, "u")
	class(s.strike, "s")
	return append(dst, `">`...)
}

// colourNames are the classes of each colour; those of 0 are never used.
var colourNames = [18]struct{ fg, bg string }{
	{},
	{"f0", "g0"},
	{"f1", "g1"},
	{"f2", "g2"},
	{"f3", "g3"},
	{"f4", "g4"},
	{"f5", "g5"},
	{"f6", "g6"},
	{"f7", "g7"},
	{"f8", "g8"},
	{"f9", "g9"},
	{"f10", "g10"},
	{"f11", "g11"},
	{"f12", "g12"},
	{"f13", "g13"},
	{"f14", "g14"},
	{"f15", "g15"},
	{"", "gx"},
}

package statuspage

import "unicode/utf8"

// appendEscaped appends text that has no escapes of terminals. What cannot be seen,
// or makes what can be seen stand elsewhere, is shown as what it is.
func appendEscaped(dst, text []byte) []byte {
	for len(text) > 0 {
		c := text[0]
		if c < utf8.RuneSelf {
			text = text[1:]
			switch {
			case c == '<':
				dst = append(dst, "&lt;"...)
			case c == '>':
				dst = append(dst, "&gt;"...)
			case c == '&':
				dst = append(dst, "&amp;"...)
			case c == '"':
				dst = append(dst, "&#34;"...)
			case c == '\'':
				dst = append(dst, "&#39;"...)
			case c == 0x7f:
				dst = append(dst, "␡"...)
			case c < ' ' && c != '\t':
				dst = utf8.AppendRune(dst, '␀'+rune(c)) // the pictures of controls stand in their order
			default:
				dst = append(dst, c)
			}
			continue
		}
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError, r >= 0x80 && r < 0xa0:
			dst = append(dst, "\ufffd"...)
		case turnsText(r):
			dst = append(dst, `<span class="code">U+`...)
			for shift := 12; shift >= 0; shift -= 4 {
				dst = append(dst, "0123456789ABCDEF"[r>>shift&0xf])
			}
			dst = append(dst, "</span>"...)
		default:
			dst = append(dst, text[:size]...)
		}
		text = text[size:]
	}
	return dst
}

// turnsText reports whether r changes the order in which text is shown.
func turnsText(r rune) bool {
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

package mask

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// IsText reports whether the content of a file is text, in whichever encoding. A
// changed byte does no harm to text and breaks anything else, such as an archive.
func IsText(content []byte) bool {
	if wide(content) != nil {
		return true
	}
	controls := 0
	for _, c := range content {
		switch {
		case c == 0:
			return false
		case c < ' ' && (c < '\a' || c > '\r') && c != '\x1b': // what terminals are told is text
			controls++
		}
	}
	// Of compressed bytes a tenth are control characters.
	return utf8.Valid(content) || controls <= len(content)/50
}

// MaskText is [Set.MaskBytes] for the content of a file of text. It finds secrets
// in UTF-16, too, which a mark or an XML tag at the start tells, and in Latin-1.
func (s *Set) MaskText(content []byte) []byte {
	if order := wide(content); order != nil {
		return s.maskWide(content, order)
	}
	content = s.MaskBytes(content)
	if utf8.Valid(content) {
		return content
	}
	letters := make([]rune, len(content))
	for i, c := range content {
		letters[i] = rune(c)
	}
	text := string(letters)
	masked := s.Mask(text)
	if masked == text {
		return content
	}
	out := make([]byte, 0, len(content))
	for _, r := range masked {
		out = append(out, byte(r)) //nolint:gosec // each was a byte, or is of Replacement
	}
	return out
}

type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// wide returns the order of the bytes of UTF-16, or nil for anything else.
func wide(content []byte) byteOrder {
	switch {
	case bytes.HasPrefix(content, []byte("\xff\xfe")), bytes.HasPrefix(content, []byte("<\x00")):
		return binary.LittleEndian
	case bytes.HasPrefix(content, []byte("\xfe\xff")), bytes.HasPrefix(content, []byte("\x00<")):
		return binary.BigEndian
	}
	return nil
}

func (s *Set) maskWide(content []byte, order byteOrder) []byte {
	units := make([]uint16, len(content)/2)
	for i := range units {
		units[i] = order.Uint16(content[2*i:])
	}
	text := string(utf16.Decode(units))
	masked := s.Mask(text)
	if masked == text {
		return content // byte for byte, whatever was wrong with it
	}
	out := make([]byte, 0, len(content)+2)
	for _, unit := range utf16.Encode([]rune(masked)) {
		out = order.AppendUint16(out, unit)
	}
	return append(out, content[2*len(units):]...)
}

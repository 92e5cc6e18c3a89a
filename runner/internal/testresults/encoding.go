package testresults

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// decoded returns r as UTF-8 when its first bytes show another form of Unicode,
// which no declaration can tell before it is read. Control characters, which XML
// forbids and test output is full of, become question marks.
func decoded(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var form encoding.Encoding
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = in.Discard(3) // they were peeked
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		form = unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case bytes.HasPrefix(head, []byte("<\x00")):
		form = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case bytes.HasPrefix(head, []byte("\x00<")):
		form = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	}
	if form == nil {
		return printable{in}, nil
	}
	return printable{form.NewDecoder().Reader(in)}, nil
}

// charsets are the declared encodings that are understood besides UTF-8, in
// lower case. Tools write the code page of the machine they run on.
var charsets = map[string]encoding.Encoding{
	"iso-8859-1": charmap.Windows1252, "latin1": charmap.Windows1252, // as browsers read it
	"us-ascii": charmap.Windows1252, "ascii": charmap.Windows1252,
	"iso-8859-2": charmap.ISO8859_2, "iso-8859-15": charmap.ISO8859_15,
	"windows-1250": charmap.Windows1250, "windows-1251": charmap.Windows1251, "windows-1252": charmap.Windows1252,
	"cp1252": charmap.Windows1252, "ibm850": charmap.CodePage850, "cp850": charmap.CodePage850,
}

// charset is an [encoding/xml.Decoder]'s CharsetReader.
func charset(label string, r io.Reader) (io.Reader, error) {
	label = strings.ToLower(strings.TrimSpace(label))
	if label == "utf8" || strings.HasPrefix(label, "utf-16") || label == "unicode" {
		return r, nil // decoded has seen to it
	}
	form, ok := charsets[label]
	if !ok {
		return nil, fmt.Errorf("the encoding %.40q is not supported", label)
	}
	return form.NewDecoder().Reader(r), nil
}

// printable replaces the characters that XML forbids. In every encoding that
// gets here they are single bytes.
type printable struct{ r io.Reader }

func (p printable) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	for i, c := range b[:n] {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			b[i] = '?'
		}
	}
	return n, err
}

package mask

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
)

// Forms returns every spelling of value under which a [Set] hides it, sorted
// and each once. They are
//
//   - value itself; value with %, CR and LF, or CR and LF alone, escaped as in
//     logging commands (%AZP25, %0D, %0A); and with the other kind of line ending;
//   - each of those without the quotes around it and without the blanks, CR
//     and LF around it;
//   - the lines of value, without the blanks around them, from eight bytes on,
//     unless they are the boundary of a key or a ruler such as "--------";
//   - base64 of each of these, padded and not, in both alphabets, wrapped as
//     base64(1) and openssl(1) wrap it, and as it stands inside the base64 of a
//     longer text, whatever precedes it there;
//   - each of those as a JSON string, as part of a URI, quoted for a shell and
//     behind backslashes, as the usual encoders write them;
//   - value, without quotes and blanks, and its lines in hexadecimal digits, in
//     both cases, as one piece and as "xxd -p" wraps it, from four bytes on.
//
// A form is never empty and never only white space. Of a value longer than
// 1 KiB, such as a key in a file, only the forms without quotes and blanks
// around it are there, and those of the most usual encoders: a few dozen
// instead of some hundred, and as few of each line. Of one longer than 32 KiB
// there are the value, with and without the blanks around it, its lines, and the
// base64 of the whole, in one piece and wrapped. A [Set] that is full has fewer
// forms of what comes then: see [Set.Add].
func Forms(value string) []string { return formsIn(value, detailOf(value)) }

// detail is how many forms of a value there are.
type detail int

const (
	everyForm detail = iota
	usualForms
	wholeForms // the value and its lines as they are, and base64 of the whole
	plainForms // the value and its lines as they are
)

// Lengths from which on the number of forms counts, in bytes: every byte of every
// form costs about ten bytes of memory, so that a value of 32 KiB costs 25 MiB with
// the usual forms, and one of 1 MiB 60 MiB with those of the whole.
const (
	longValue = 1 << 10
	hugeValue = 32 << 10
)

func detailOf(value string) detail {
	switch {
	case len(value) > hugeValue:
		return wholeForms
	case len(value) > longValue:
		return usualForms
	}
	return everyForm
}

// formsIn returns the forms of value in a detail, sorted and each once.
func formsIn(value string, d detail) []string {
	f := make(formSet)
	if d >= wholeForms {
		f.whole(value, d)
		return slices.Sorted(maps.Keys(f))
	}
	use, bare := everyDialect, bareForms
	if d == usualForms {
		use, bare = usualDialects, barest
	}
	for _, form := range append(bare(value), secretLines(value)...) {
		f.spell(form, use)
		f.add(hexForms(form, use.hex)...)
	}
	for _, escaped := range commandForms(value) {
		for _, form := range bare(escaped) {
			f.spell(form, use)
		}
	}
	return slices.Sorted(maps.Keys(f))
}

type formSet map[string]struct{}

func (f formSet) add(forms ...string) {
	for _, form := range forms {
		if strings.TrimSpace(form) != "" {
			f[form] = struct{}{}
		}
	}
}

// whole adds value and its lines as they are, and base64 of the whole.
func (f formSet) whole(value string, d detail) {
	f.add(secretLines(value)...)
	for _, form := range []string{value, strings.Trim(value, blanks)} {
		f.add(form)
		if d == wholeForms {
			encoded := base64.StdEncoding.EncodeToString([]byte(form))
			f.add(encoded, wrap(encoded, base64Line), wrap(encoded, opensslLine))
		}
	}
}

// spell adds form as encoders write it.
func (f formSet) spell(form string, use dialects) {
	f.add(form)
	f.add(jsonForms(form, use.json)...)
	f.add(uriForms(form, use.uri)...)
	f.add(backslashForms(form, use.backslash)...)
	f.add(shellForms(form)...)
	for _, encoded := range base64Forms(form, use.base64) {
		f.add(encoded)
		// Of the characters of base64 only these need escaping in a URI.
		if strings.ContainsAny(encoded, "+/=\n") {
			f.add(uriForms(encoded, use.uri)...)
		}
	}
}

var lineEscapes = strings.NewReplacer("\r", "%0D", "\n", "%0A")

// commandForms are the escapings of value in logging commands, and value with
// either kind of line ending, where they are not value itself.
func commandForms(value string) []string {
	forms := []string{
		lineEscapes.Replace(value),
		lineEscapes.Replace(strings.ReplaceAll(value, "%", "%AZP25")),
	}
	if strings.Contains(value, "\n") {
		unix := strings.ReplaceAll(value, "\r\n", "\n")
		forms = append(forms, unix, strings.ReplaceAll(unix, "\n", "\r\n"))
	}
	slices.Sort(forms)
	return slices.DeleteFunc(slices.Compact(forms), func(form string) bool { return form == value })
}

// blanks are what scripts leave around a value.
const blanks = "\r\n\t "

// bareForms are form, form without quotes and form without blanks around it.
func bareForms(form string) []string {
	forms := []string{form}
	if n := len(form); n > 2 && form[0] == form[n-1] && (form[0] == '"' || form[0] == '\'') {
		forms = append(forms, form[1:n-1])
	}
	if trimmed := strings.Trim(form, blanks); trimmed != form {
		forms = append(forms, trimmed)
	}
	return forms
}

// barest is form without quotes and blanks around it, alone.
func barest(form string) []string {
	forms := bareForms(form)
	return forms[len(forms)-1:]
}

// minBase64Core is the length, in characters, from which on the part of a
// base64 text that a secret alone decides is taken for that secret. Six
// characters are 36 bits: shorter ones would turn up in ordinary text.
const minBase64Core = 6

// Lengths at which base64(1) and openssl(1) break lines.
const (
	base64Line  = 76
	opensslLine = 64
)

func base64Forms(form string, alphabets []string) []string {
	var forms []string
	whole := base64.StdEncoding.EncodeToString([]byte(form))
	for _, alphabet := range alphabets {
		forms = append(forms, inAlphabet(whole, alphabet))
	}
	for _, width := range []int{base64Line, opensslLine} {
		if len(whole) > width {
			forms = append(forms, wrap(whole, width))
		}
	}
	// Behind shift other bytes the text begins at bit 8*shift of a group; the
	// characters that hold none of the neighbours' bits are the form's core.
	for shift := range 3 {
		padded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), form...))
		core := padded[(8*shift+5)/6 : 8*(shift+len(form))/6]
		if len(core) >= minBase64Core {
			for _, alphabet := range alphabets {
				forms = append(forms, inAlphabet(core, alphabet))
			}
		}
	}
	return forms
}

// minHex is the length, in bytes, from which on a value is hidden in
// hexadecimal digits: eight of them are 32 bits. Fewer turn up in numbers,
// dates and hashes.
const minHex = 4

// hexLine is the length at which "xxd -p" breaks lines.
const hexLine = 60

// hexForms are form in hexadecimal digits without anything between them, as
// xxd -p, hexdump -e '"%02x"', and od and most languages print it. The tables
// of od and hexdump are left out: what begins in the middle of one of their
// rows has an address and a column of text in it.
func hexForms(form string, digits []string) []string {
	if len(form) < minHex {
		return nil
	}
	var forms []string
	for _, digits := range digits {
		encoded := make([]byte, 0, 2*len(form))
		for i := range len(form) {
			encoded = append(encoded, digits[form[i]>>4], digits[form[i]&15])
		}
		forms = append(forms, string(encoded), wrap(string(encoded), hexLine))
	}
	return forms
}

// inAlphabet writes standard base64 with other last two characters.
func inAlphabet(encoded, alphabet string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '+':
			return rune(alphabet[0])
		case '/':
			return rune(alphabet[1])
		}
		return r
	}, encoded)
}

func wrap(text string, width int) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/width)
	for len(text) > width {
		b.WriteString(text[:width])
		b.WriteByte('\n')
		text = text[width:]
	}
	b.WriteString(text)
	return b.String()
}

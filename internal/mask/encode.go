package mask

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonForms are the inside of form as a JSON string, in the dialects of the
// encoders that jobs meet: the least escaping there is, Go's and .NET's habit
// of escaping HTML, PHP's escaped slash, and Python's escaping of whatever is
// not ASCII; with hexadecimal digits of both cases.
func jsonForms(form string) []string {
	if !needsJSON(form) {
		return nil
	}
	var forms []string
	for _, digits := range []string{"%04x", "%04X"} {
		for _, html := range []string{"", "<>&\u2028\u2029", "<>&'+`\"\u2028\u2029"} {
			for _, ascii := range []bool{false, true} {
				encoded := jsonString(form, html, digits, ascii)
				forms = append(forms, encoded)
				if strings.Contains(encoded, "/") {
					forms = append(forms, strings.ReplaceAll(encoded, "/", `\/`))
				}
			}
		}
	}
	return forms
}

func needsJSON(form string) bool {
	return strings.ContainsFunc(form, func(r rune) bool {
		return r < ' ' || r >= 0x7f || strings.ContainsRune("\"\\/<>&'+`", r)
	})
}

// jsonString escapes what JSON demands, every character of html and, when
// ascii is set, everything beyond ASCII, with digits as the format of one unit.
func jsonString(form, html, digits string, ascii bool) string {
	short := map[rune]string{'\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	var b strings.Builder
	for i, r := range form {
		escape, isShort := short[r]
		switch {
		case isShort:
			b.WriteString(escape)
		case r == utf8.RuneError && !strings.HasPrefix(form[i:], "\uFFFD"):
			b.WriteString("\uFFFD") // a byte that is no UTF-8, as encoders replace it
		case r < ' ', strings.ContainsRune(html, r), ascii && r >= 0x7f:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u`+digits, unit)
			}
		case r == '"':
			b.WriteString(`\"`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// uriForms are form with percent escapes, as written by encoders that leave
// different punctuation alone, with hexadecimal digits of both cases and with
// either spelling of a space.
func uriForms(form string) []string {
	var forms []string
	for _, punctuation := range []string{
		"-_.~",                 // RFC 3986 section 2.3; .NET's EscapeDataString, Go's QueryEscape
		"-_.",                  // before RFC 3986: the tilde is escaped
		"-_.*",                 // HTML forms
		"-_.~!*'()",            // JavaScript's encodeURIComponent
		"-_.~/",                // Python's quote
		"-_.~$&+:=@",           // Go's PathEscape
		"-_.~!*'();/?:@&=+$,#", // JavaScript's encodeURI, curl and browsers
	} {
		for _, digits := range []string{"0123456789ABCDEF", "0123456789abcdef"} {
			escaped := percent(form, punctuation, digits)
			forms = append(forms, escaped)
			if strings.Contains(form, " ") {
				forms = append(forms, strings.ReplaceAll(escaped, "%20", "+"))
			}
		}
	}
	return forms
}

func percent(form, punctuation, digits string) string {
	var b strings.Builder
	for i := range len(form) {
		c := form[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(punctuation, c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// backslashForms are form as shells and programming languages quote it, and
// form with such quoting taken away, which is what is printed when a value
// that was stored quoted passes through a shell.
func backslashForms(form string) []string {
	if !strings.ContainsAny(form, "\\\"'$`\t\r\n ") {
		return nil
	}
	return []string{
		strings.NewReplacer(`\`, `\\`).Replace(form),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(form),
		strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(form),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`, "\t", `\t`, "\r", `\r`, "\n", `\n`).Replace(form),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "\r", `\r`, "\n", `\n`).Replace(form),
		strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\t", `\t`, "\r", `\r`, "\n", `\n`).Replace(form),
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(form),
		strings.NewReplacer(`'`, `'\''`).Replace(form),
		strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`, `\t`, "\t").Replace(form),
	}
}

package mask

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// dialects are the habits of encoders.
type dialects struct {
	json      []jsonDialect
	uri       []uriDialect
	backslash []*strings.Replacer
	base64    []string // the last two characters of the alphabet
	hex       []string // digits
}

// jsonDialect is what an encoder escapes beyond what JSON demands.
type jsonDialect struct {
	always string // characters
	ascii  bool   // whatever is not ASCII
	digits string // format of the four digits
}

// uriDialect is how an encoder writes percent escapes.
type uriDialect struct {
	plain  string // punctuation that is not escaped
	digits string
}

const (
	lower = "0123456789abcdef"
	upper = "0123456789ABCDEF"
)

var everyDialect = func() (d dialects) {
	for _, digits := range []string{"%04x", "%04X"} {
		for _, always := range []string{
			"",                     // the least there is
			"<>&\u2028\u2029",      // Go
			"<>&'+`\"\u2028\u2029", // System.Text.Json
		} {
			d.json = append(d.json, jsonDialect{always, false, digits}, jsonDialect{always, true, digits})
		}
	}
	for _, plain := range []string{
		"-_.~",                 // RFC 3986 section 2.3; .NET's EscapeDataString, Go's QueryEscape
		"-_.",                  // before RFC 3986: the tilde is escaped
		"-_.*",                 // HTML forms
		"-_.~!*'()",            // JavaScript's encodeURIComponent
		"-_.~/",                // Python's quote
		"-_.~$&+:=@",           // Go's PathEscape
		"-_.~!*'();/?:@&=+$,#", // JavaScript's encodeURI, curl and browsers
	} {
		d.uri = append(d.uri, uriDialect{plain, upper}, uriDialect{plain, lower})
	}
	for _, pairs := range [][]string{
		{`\`, `\\`},
		{`\`, `\\`, `"`, `\"`},
		{`\`, `\\`, `'`, `\'`},
		{`\`, `\\`, `"`, `\"`, `'`, `\'`, "\t", `\t`, "\r", `\r`, "\n", `\n`},
		{`\`, `\\`, `"`, `\"`, "\t", `\t`, "\r", `\r`, "\n", `\n`},
		{`\`, `\\`, `'`, `\'`, "\t", `\t`, "\r", `\r`, "\n", `\n`},
		{`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`"},
		{`\\`, `\`, `\'`, `'`, `\"`, `"`, `\t`, "\t"}, // taken away
	} {
		d.backslash = append(d.backslash, strings.NewReplacer(pairs...))
	}
	d.base64 = []string{"+/", "-_"}
	d.hex = []string{lower, upper}
	return d
}()

// usualDialects are those in which long values are met.
var usualDialects = dialects{
	json:      []jsonDialect{{"", false, "%04x"}, {"<>&\u2028\u2029", false, "%04x"}, {"<>&'+`\"\u2028\u2029", true, "%04X"}},
	uri:       []uriDialect{{"-_.~", upper}, {"-_.~", lower}},
	backslash: []*strings.Replacer{strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "\r", `\r`, "\n", `\n`)},
	base64:    []string{"+/"},
	hex:       []string{lower},
}

// jsonForms are the inside of form as a JSON string, with and without PHP's
// escaped slash.
func jsonForms(form string, use []jsonDialect) []string {
	if !needsJSON(form) {
		return nil
	}
	var forms []string
	for _, dialect := range use {
		encoded := jsonString(form, dialect)
		forms = append(forms, encoded)
		if strings.Contains(encoded, "/") && dialect.always == "" {
			forms = append(forms, strings.ReplaceAll(encoded, "/", `\/`))
		}
	}
	return forms
}

func needsJSON(form string) bool {
	return strings.ContainsFunc(form, func(r rune) bool {
		return r < ' ' || r >= 0x7f || strings.ContainsRune("\"\\/<>&'+`", r)
	})
}

// jsonString escapes what JSON demands and what the dialect does besides.
func jsonString(form string, dialect jsonDialect) string {
	short := map[rune]string{'\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	var b strings.Builder
	for i, r := range form {
		escape, isShort := short[r]
		switch {
		case isShort:
			b.WriteString(escape)
		case r == utf8.RuneError && !strings.HasPrefix(form[i:], "\uFFFD"):
			b.WriteString("\uFFFD") // a byte that is no UTF-8, as encoders replace it
		case r < ' ', strings.ContainsRune(dialect.always, r), dialect.ascii && r >= 0x7f:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u`+dialect.digits, unit)
			}
		case r == '"':
			b.WriteString(`\"`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// uriForms are form with percent escapes, with either spelling of a space.
func uriForms(form string, use []uriDialect) []string {
	var forms []string
	for _, dialect := range use {
		escaped := percent(form, dialect.plain, dialect.digits)
		forms = append(forms, escaped)
		if strings.Contains(form, " ") {
			forms = append(forms, strings.ReplaceAll(escaped, "%20", "+"))
		}
	}
	return forms
}

func percent(form, punctuation, digits string) string {
	var b strings.Builder
	b.Grow(len(form) + len(form)/4)
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
func backslashForms(form string, use []*strings.Replacer) []string {
	var forms []string
	if strings.ContainsAny(form, "\\\"'$`\t\r\n") {
		for _, dialect := range use {
			forms = append(forms, dialect.Replace(form))
		}
	}
	return forms
}

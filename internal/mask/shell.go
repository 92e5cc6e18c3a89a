package mask

import (
	"fmt"
	"strings"
)

// quotations are how programs write the inside of a quoted argument.
var quotations = []*strings.Replacer{
	strings.NewReplacer(`'`, `'\''`),  // bash -x and ${value@Q}
	strings.NewReplacer(`'`, `'"'"'`), // Python's shlex.quote
	strings.NewReplacer(`'`, `''`),    // PowerShell, YAML
	strings.NewReplacer(`$`, `$$`),    // Compose and make
	strings.NewReplacer(`'`, `'\''`, "\r\n", `'$'\r\n''`, "\r", `'$'\r''`, "\n", `'$'\n''`, "\t", `'$'\t''`), // printf(1)'s %q, ls
}

// shellForms are form as it is printed where a command line is shown.
func shellForms(form string) []string {
	var forms []string
	for _, quotation := range quotations {
		forms = append(forms, quotation.Replace(form))
	}
	if strings.ContainsFunc(form, isControl) {
		forms = append(forms, ansiQuoted(form, false))
	} else {
		forms = append(forms, backslashed(form))
	}
	if strings.ContainsFunc(form, func(r rune) bool { return r >= 0x80 }) {
		forms = append(forms, ansiQuoted(form, true))
	}
	return forms
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// backslashed is form behind the backslashes of bash's printf %q, which takes
// them where there is no control character. A # or ~ that begins form is left
// alone: the rest of what is printed is form itself.
func backslashed(form string) string {
	var b strings.Builder
	for i := range len(form) {
		c := form[i]
		home := c == '~' && i > 0 && (form[i-1] == '=' || form[i-1] == ':')
		if home || strings.IndexByte(" !\"$&'()*,;<>?[\\]^`{|}", c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// ansiQuoted is the inside of bash's $'…', in which a locale without UTF-8
// escapes whatever is not ASCII.
func ansiQuoted(form string, ascii bool) string {
	// Each character with a letter of its own, and that letter.
	const letters = "\aa\bb\x1bE\ff\nn\rr\tt\vv\\\\''"
	var b strings.Builder
	for i := range len(form) {
		c := form[i]
		at := strings.IndexByte(letters, c)
		switch {
		case at >= 0 && at%2 == 0:
			b.Write([]byte{'\\', letters[at+1]})
		case isControl(rune(c)), ascii && c >= 0x80:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

package gitsource

import (
	"bytes"
	"strings"
)

// setting returns the last value of a setting in the text of a git
// configuration. section is written as there: `core`, `remote "origin"`. It knows
// what git itself writes, one setting a line, and not everything a person may.
func setting(data []byte, section, key string) (string, bool) {
	found, ok, inside := "", false, false
	for line := range bytes.Lines(data) {
		text := strings.TrimSpace(string(line))
		if strings.HasPrefix(text, "[") {
			inside = sameSection(text, section)
			continue
		}
		name, value, has := strings.Cut(text, "=")
		if !inside || !strings.EqualFold(strings.TrimSpace(name), key) {
			continue
		}
		found, ok = "true", true // a name without a value is that
		if has {
			found = unquote(strings.TrimSpace(value))
		}
	}
	return found, ok
}

// sameSection compares the line of a section with a section: its name without,
// what is in quotes with regard to case.
func sameSection(line, section string) bool {
	name, rest, _ := strings.Cut(strings.TrimPrefix(line, "["), `"`)
	wanted, wantedRest, _ := strings.Cut(section+"]", `"`)
	return strings.EqualFold(name, wanted) && rest == wantedRest
}

// unquote reads a value as git does: quotes keep what is in them, a backslash
// escapes, and a comment ends it.
func unquote(value string) string {
	var out strings.Builder
	quoted, escaped, blanks := false, false, ""
	for _, r := range value {
		switch {
		case escaped:
			escaped = false
			switch r {
			case 'n':
				r = '\n'
			case 't':
				r = '\t'
			case 'b':
				r = '\b'
			}
		case r == '\\':
			escaped = true
			continue
		case r == '"':
			quoted = !quoted
			continue
		case !quoted && (r == '#' || r == ';'):
			return out.String()
		case !quoted && (r == ' ' || r == '\t'):
			blanks += string(r)
			continue
		}
		out.WriteString(blanks)
		out.WriteRune(r)
		blanks = ""
	}
	return out.String()
}

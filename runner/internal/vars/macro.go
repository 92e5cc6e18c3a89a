package vars

import "strings"

// Replace replaces each $(name) in text for which lookup knows a value, in one
// scan from left to right: a name ends at the first closing bracket, it is not
// trimmed and not empty, inserted text is not looked at again, and what lookup
// does not know stays as it is.
func Replace(text string, lookup func(name string) (string, bool)) string {
	if !strings.Contains(text, "$(") {
		return text
	}
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "$(")
		name, after, closed := strings.Cut(rest, ")")
		if !ok || !closed {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(before)
		value, known := "", false
		if name != "" {
			value, known = lookup(name)
		}
		if known {
			out.WriteString(value)
			text = after
		} else {
			// The next candidate may begin inside this one.
			out.WriteString("$")
			text = text[len(before)+1:]
		}
	}
}

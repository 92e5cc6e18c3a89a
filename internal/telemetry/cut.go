package telemetry

import "strings"

// longestReason bounds what a span says of a failure, in characters: a line, not a
// log.
const longestReason = 512

// firstLine is the first line of text that says something, of bounded length.
func firstLine(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if short := cut(text, longestReason); short != text {
		return short + "…"
	}
	return text
}

// cut returns the first characters of text, as many as most; all if it is negative.
func cut(text string, most int) string {
	for at := range text {
		if most == 0 {
			return text[:at]
		}
		most--
	}
	return text
}

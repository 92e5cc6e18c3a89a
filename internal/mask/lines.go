package mask

import "strings"

const (
	// shortestLine is the length in bytes, without the blanks around it, from
	// which on a line of a longer value is hidden where it stands alone. Eight
	// is the least that rules for passwords ask for; what only gives a file its
	// shape, such as "{", "users:" or "EOF", is mostly shorter and would
	// blacken logs that hold no secret.
	shortestLine = 8
	// fewestBytes is how many different bytes such a line has at least: dashes
	// and equals signs rule off the logs of many programs.
	fewestBytes = 4
)

// lineBreaks has the break behind a backslash too: a key within a JSON file is
// one line there, and is printed in many once somebody has taken it out.
var lineBreaks = strings.NewReplacer("\r", "\n", `\r\n`, "\n", `\n`, "\n")

// secretLines are the lines of a value of several that are secrets of their
// own: programs print them behind a time, a mark or an indentation each, and
// the value as a whole is then found nowhere.
func secretLines(value string) []string {
	var lines []string
	for line := range strings.SplitSeq(lineBreaks.Replace(value), "\n") {
		if line = strings.TrimSpace(line); line != value && telling(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// telling reports whether line is worth hiding on its own.
func telling(line string) bool {
	return len(line) >= shortestLine && differentBytes(line) >= fewestBytes && !boundary(line)
}

func differentBytes(line string) int {
	var seen [256]bool
	n := 0
	for i := range len(line) {
		if !seen[line[i]] {
			seen[line[i]] = true
			n++
		}
	}
	return n
}

// boundary reports whether line begins or ends a key or certificate as PEM
// (RFC 7468), OpenPGP and SSH2 (RFC 4716) write it: the same for all of them,
// and in the logs of whoever makes one.
func boundary(line string) bool {
	inner := strings.Trim(line, "-")
	if len(line)-len(inner) < 2*len("----") {
		return false
	}
	inner = strings.TrimSpace(inner)
	return strings.HasPrefix(inner, "BEGIN ") || strings.HasPrefix(inner, "END ")
}

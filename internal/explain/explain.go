// Package explain knows why a build ran a step again.
//
// A [Record] describes what a build was made of: its instructions with the build
// arguments, secrets, base images and files that each of them reads. [Describe]
// makes one beside the solve. Comparing the record of the last good build with
// this one's gives a [Reason] for every step that ran ([Compare]). Records are
// kept in a [Store] on this machine and in a [Registry] beside the cache; nothing
// here talks to BuildKit. No record holds the value of a build argument or of a
// secret, see [Draft.Seal].
package explain

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is what a reason is about.
type Kind string

// The kinds of reasons.
const (
	FirstBuild         Kind = "first-build"         // there is no record of an earlier build to compare with
	InstructionChanged Kind = "instruction-changed" // Was and Now are the two lines; one is empty when a line came or went
	ArgumentChanged    Kind = "argument-changed"    // of a build argument; values are never told
	SecretChanged      Kind = "secret-changed"      // another secret or SSH id; values are never looked at
	BaseChanged        Kind = "base-changed"        // Was and Now are digests
	FilesChanged       Kind = "files-changed"       // Files are their names
	ContextChanged     Kind = "context-changed"     // a named context, or what a URL or a repository delivers
	OptionChanged      Kind = "option-changed"      // a flag that RUN steps see, such as --network
	ParentRebuilt      Kind = "parent-rebuilt"      // Parent is the step that it builds on
	NoCacheAsked       Kind = "no-cache"            // --no-cache or --no-cache-filter
	NeverExported      Kind = "never-exported"      // the earlier build left no cache that this node could read
	Evicted            Kind = "evicted"             // nothing changed: the result is in no cache any more
	Undescribed        Kind = "undescribed"         // the build could not be looked into; Text says why
)

// Reason says why one step ran. Its texts are one line each, without control
// characters; they may come from a record that somebody else wrote, and from
// the Dockerfile, so a caller masks secrets in them as in any other line.
type Reason struct {
	Step     string `json:"step"` // as BuildKit shows it
	Platform string `json:"platform,omitempty"`
	Line     int    `json:"line,omitempty"` // in the Dockerfile, counted from one; zero when unknown
	Kind     Kind   `json:"kind"`
	Text     string `json:"text"` // one sentence for people, without the step's name
	// What the kind says of it; each may be empty.
	Name   string   `json:"name,omitempty"` // of the argument, secret, base image, option or context
	Was    string   `json:"was,omitempty"`
	Now    string   `json:"now,omitempty"`
	Files  []string `json:"files,omitempty"` // at most [MaxFiles]
	More   int      `json:"more,omitempty"`  // further files
	Parent string   `json:"parent,omitempty"`
}

// MaxFiles is how many changed files a reason names: more than a line of a log
// holds, and people look at the first few only.
const MaxFiles = 10

func (r Reason) String() string { return fmt.Sprintf("%s: %s", r.Step, r.Text) }

// maxText bounds a text that is shown, in runes: two lines of a log.
const maxText = 240

// clean makes a foreign text fit into one line of a log.
func clean(s string) string { return cleanTo(s, maxText) }

func cleanTo(s string, longest int) string {
	// Bytes first: a hostile text may be megabytes long.
	if len(s) > longest*utf8.UTFMax {
		s = s[:longest*utf8.UTFMax]
	}
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n', c == '\t', c == '\r':
			return ' '
		case c == utf8.RuneError, !unicode.IsPrint(c): // also what reverses the direction of text
			return -1
		}
		return c
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	s = strings.ReplaceAll(s, "##", "# #") // begins a command to some CIs, in whose logs it stands
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest-1]) + "…"
}

// shownAround is how much of a long line is kept before and behind the first
// difference, in runes.
const shownBefore, shownBehind = 30, 80

// diff returns the parts of two texts that people look at: the first lines that
// differ, cut around the first difference.
func diff(was, now string) (string, string) {
	a, b := strings.Split(was, "\n"), strings.Split(now, "\n")
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	line := func(lines []string) string {
		if i < len(lines) {
			return lines[i]
		}
		return ""
	}
	x, y := []rune(cleanTo(line(a), 1<<16)), []rune(cleanTo(line(b), 1<<16))
	at := 0
	for at < len(x) && at < len(y) && x[at] == y[at] {
		at++
	}
	return around(x, at), around(y, at)
}

func around(s []rune, at int) string {
	if len(s) <= shownBefore+shownBehind+2 {
		return string(s)
	}
	from, to := max(0, min(at, len(s))-shownBefore), min(len(s), at+shownBehind)
	out := string(s[from:to])
	if from > 0 {
		out = "…" + out
	}
	if to < len(s) {
		out += "…"
	}
	return out
}

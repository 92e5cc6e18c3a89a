package testtasks

import (
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

const (
	// mostNamed is how many failed tests the log names, and mostListed the summary:
	// more of them have one cause.
	mostNamed  = 10
	mostListed = 50
	// mostMessage is what both show of a message, in characters.
	mostMessage = 200
)

// failureList keeps the first tests that failed. They are masked first: in a text
// that was cut or escaped, a secret is not found.
type failureList struct {
	mask  func(string) string
	first []failure
	all   int
}

type failure struct{ name, message string }

func (l *failureList) add(c testresults.Case) {
	if l.all++; len(l.first) < mostListed {
		name := c.Title
		if c.Storage != "" && !strings.Contains(name, c.Storage) {
			name = c.Storage + ": " + name
		}
		l.first = append(l.first, failure{brief(l.mask(name)), brief(l.mask(c.Message))})
	}
}

// brief returns the first line of text, not too long.
func brief(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if r := []rune(strings.TrimSpace(line)); len(r) > mostMessage {
		return string(r[:mostMessage-1]) + "…"
	}
	return strings.TrimSpace(line)
}

// lines are what the log says.
func (l *failureList) lines() []string {
	var out []string
	for _, f := range l.first[:min(len(l.first), mostNamed)] {
		line := "Failed: " + f.name
		if f.message != "" {
			line += " (" + f.message + ")"
		}
		out = append(out, line)
	}
	if more := l.all - len(out); more > 0 {
		out = append(out, fmt.Sprintf("… and %d more.", more))
	}
	return out
}

// markdown is the summary of a run with failures.
func (l *failureList) markdown(totals testresults.Totals, title string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n%s\n\n| failed test | message |\n|---|---|\n", cell(title, "Test results"), totals)
	for _, f := range l.first {
		fmt.Fprintf(&b, "| %s | %s |\n", cell(f.name, ""), cell(f.message, ""))
	}
	if more := l.all - len(l.first); more > 0 {
		fmt.Fprintf(&b, "\n… and %d more.\n", more)
	}
	return b.String()
}

var markdownText = strings.NewReplacer("\\", `\\`, "|", `\|`, "<", "&lt;", "&", "&amp;", "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "!", `\!`, "#", `\#`, "\r", " ", "\n", " ")

// cell writes text so that Markdown finds nothing in it: names of tests are
// written by whoever made a pull request.
func cell(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return markdownText.Replace(text)
}

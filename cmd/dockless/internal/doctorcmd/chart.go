package doctorcmd

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/doctor"
)

// chart shows the results of doctor to a person.
type chart struct {
	w      io.Writer
	width  int // columns; zero is no terminal
	colour bool
}

func newChart(w io.Writer) chart {
	_, tty := console.Terminal(w)
	return chart{w: w, width: console.Columns(w), colour: tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// styles of statuses, as SGR parameters: of the eight colours that a theme adapts to
// its background, and never alone, as the word says the same.
var styles = map[doctor.Status]string{doctor.OK: "32", doctor.Warn: "33", doctor.Fail: "1;31", doctor.Skip: "2"}

// bold is the style of headings.
const bold = "1"

func (c chart) styled(style, text string) string {
	if !c.colour || style == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// problemIndent is where the cause and the hint of a problem begin.
const problemIndent = 8

// print writes one line for each result, under the heading of its peer. What is wrong
// is followed by its cause and by what to do, on lines of their own.
func (c chart) print(results []doctor.Result, took time.Duration) {
	for _, g := range doctorGroups {
		c.group(g.title, slices.DeleteFunc(slices.Clone(results), func(r doctor.Result) bool { return r.Group != g.name }))
	}
	counts := make(map[doctor.Status]int)
	for _, r := range results {
		counts[r.Status]++
	}
	style := styles[doctor.OK]
	if counts[doctor.Fail] > 0 {
		style = styles[doctor.Fail]
	}
	summary := fmt.Sprintf("%d ok, %s, %d failed, %d skipped, in %s", counts[doctor.OK], console.Count(counts[doctor.Warn], "warning"), counts[doctor.Fail], counts[doctor.Skip], lasting(took.Seconds()))
	console.Say(c.w, "%s\n", c.styled(style, summary))
}

// group writes the results of one peer, if there are any.
func (c chart) group(title string, results []doctor.Result) {
	if len(results) == 0 {
		return
	}
	longest := 0
	for _, r := range results {
		longest = max(longest, len(r.Name))
	}
	console.Say(c.w, "%s\n", c.styled(bold, title))
	for _, r := range results {
		c.row(r, longest)
	}
	console.Say(c.w, "\n")
}

func (c chart) row(r doctor.Result, longest int) {
	indent := len("  warn  ") + longest + len("  123 ms  ")
	took := ""
	if r.Seconds > 0 {
		took = lasting(r.Seconds)
	}
	head := fmt.Sprintf("  %s  %-*s  %6s", c.styled(styles[r.Status], fmt.Sprintf("%-4s", r.Status)), longest, r.Name, took)
	narrow := c.width > 0 && c.width < indent+minDetail
	if r.Status == doctor.Warn || r.Status == doctor.Fail || narrow {
		console.Say(c.w, "%s\n%*s%s\n", strings.TrimRight(head, " "), problemIndent, "", console.Wrap(r.Detail, problemIndent, c.width))
	} else {
		console.Say(c.w, "%s\n", head+"  "+console.Wrap(r.Detail, indent, c.width))
	}
	for hint := range strings.Lines(r.Hint) {
		console.Say(c.w, "%*s%s %s\n", problemIndent, "", c.styled(bold, "hint:"), console.Wrap(strings.TrimSpace(hint), problemIndent+len("hint: "), c.width))
	}
}

// minDetail is how narrow the column of details may become beside the others.
const minDetail = 30

// lasting writes seconds with as many digits as matter.
func lasting(seconds float64) string {
	if ms := seconds * 1000; ms < 999.5 {
		return fmt.Sprintf("%.0f ms", max(ms, 1))
	}
	return fmt.Sprintf("%.1f s", seconds)
}

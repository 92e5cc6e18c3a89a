package testresults

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Counter is how much of one kind of thing tests have reached.
type Counter struct {
	Label          string // Lines, Branches, …
	Covered, Total int
	Position       int // where the service shows it; 1 is first
}

// Percent is the rate, 0 when there is nothing to reach.
func (c Counter) Percent() float64 {
	if c.Total == 0 {
		return 0
	}
	return 100 * float64(c.Covered) / float64(c.Total)
}

// The coverage tools, as tasks name them.
const (
	Cobertura = "Cobertura"
	JaCoCo    = "JaCoCo"
)

// labels are the kinds by JaCoCo's words, with the service's positions (the
// agent's CodeCoverageUtilities.GetPriorityOrder).
var labels = map[string]Counter{
	"CLASS": {Label: "Classes", Position: 1}, "COMPLEXITY": {Label: "Complexity", Position: 2}, "METHOD": {Label: "Methods", Position: 3},
	"LINE": {Label: "Lines", Position: 4}, "INSTRUCTION": {Label: "Instructions", Position: 5}, "BRANCH": {Label: "Branches", Position: 6},
}

// ReadCoverage reads the summary of a coverage file, whose name is for messages.
// tool is [Cobertura] or [JaCoCo] in any case, or empty for either. No counter is
// returned for what has nothing to reach.
func ReadCoverage(r io.Reader, file, tool string) ([]Counter, error) {
	roots := []string{"coverage", "report"}
	switch {
	case strings.EqualFold(tool, Cobertura):
		roots = roots[:1]
	case strings.EqualFold(tool, JaCoCo):
		roots = roots[1:]
	case tool != "":
		return nil, fmt.Errorf("the coverage tool %q is neither %s nor %s", tool, Cobertura, JaCoCo)
	default:
		tool = Cobertura + " or " + JaCoCo
	}
	d, root, err := open(r, file, nil) // no text of it is kept
	if err == nil {
		err = d.root(root, tool, roots...)
	}
	if err != nil {
		return nil, err
	}
	var found []Counter
	if root.name == "report" {
		found, err = d.jacoco()
	} else {
		found, err = d.cobertura(root)
	}
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// jacoco reads the counters of the whole report, which stand behind those of its
// parts.
func (d *document) jacoco() ([]Counter, error) {
	var found []Counter
	err := d.children(func(e element) error {
		c, ok := labels[e.attr("type")]
		if e.name != "counter" || !ok || len(found) >= len(labels) {
			return nil
		}
		missed, covered := number(e.attr("missed")), number(e.attr("covered"))
		if c.Covered, c.Total = covered, covered+missed; c.Total > 0 {
			found = append(found, c)
		}
		return nil
	})
	return found, err
}

// cobertura reads the totals at the root, or counts lines where an old writer
// left the totals out.
func (d *document) cobertura(root element) ([]Counter, error) {
	lines, branches := labels["LINE"], labels["BRANCH"]
	lines.Covered, lines.Total = number(root.attr("lines-covered")), number(root.attr("lines-valid"))
	branches.Covered, branches.Total = number(root.attr("branches-covered")), number(root.attr("branches-valid"))
	if lines.Total == 0 {
		lines.Covered, branches.Covered, branches.Total = 0, 0, 0
		if err := d.children(func(e element) error { return d.coberturaLines(e, &lines, &branches) }); err != nil {
			return nil, err
		}
	} else if err := d.children(func(element) error { return nil }); err != nil {
		return nil, err
	}
	var found []Counter
	for _, c := range []Counter{lines, branches} {
		if c.Covered = min(c.Covered, c.Total); c.Total > 0 {
			found = append(found, c)
		}
	}
	return found, nil
}

// coberturaLines counts the lines of classes; those of methods are the same ones
// again.
func (d *document) coberturaLines(e element, lines, branches *Counter) error {
	switch e.name {
	case "packages", "package", "classes", "class", "lines":
		return d.children(func(e element) error { return d.coberturaLines(e, lines, branches) })
	case "line":
		if lines.Total++; number(e.attr("hits")) > 0 {
			lines.Covered++
		}
		var covered, total int
		if _, rest, ok := strings.Cut(e.attr("condition-coverage"), "("); ok { // 50% (1/2)
			if _, err := fmt.Sscanf(rest, "%d/%d)", &covered, &total); err == nil && covered >= 0 && total >= covered && total < 1<<20 {
				branches.Covered, branches.Total = branches.Covered+covered, branches.Total+total
			}
		}
	}
	return nil
}

// number reads a count; 0 when it is none. The service takes 32 bits.
func number(text string) int {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 31)
	if err != nil || n < 0 {
		return 0
	}
	return int(n)
}

// Merge adds the counters of several files, by label.
func Merge(files ...[]Counter) []Counter {
	var all []Counter
	for _, counters := range files {
		for _, c := range counters {
			known := false
			for i := range all {
				if all[i].Label == c.Label {
					all[i].Covered, all[i].Total, known = all[i].Covered+c.Covered, all[i].Total+c.Total, true
				}
			}
			if !known {
				all = append(all, c)
			}
		}
	}
	return all
}

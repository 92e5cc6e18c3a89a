package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Error is one mistake in a pipeline file.
type Error struct {
	File    string // as the service shows it: with a leading slash
	Line    int    // 1-based
	Column  int    // 1-based
	Message string
}

// Error returns "file (Line: n, Col: m): message".
func (e *Error) Error() string {
	return fmt.Sprintf("%s (Line: %d, Col: %d): %s", e.File, e.Line, e.Column, e.Message)
}

// maxProblems bounds how many mistakes one load reports; after that many the rest is
// rarely news.
const maxProblems = 50

// problems collects mistakes, so that one load reports several.
type problems struct {
	file     string
	found    []error
	warnings []error
}

func newProblems(file string) *problems {
	return &problems{file: "/" + strings.TrimLeft(strings.TrimPrefix(file, "./"), "/")}
}

func (p *problems) at(pos position, format string, args ...any) *Error {
	return &Error{cmp.Or(pos.file, p.file), max(1, pos.line), max(1, pos.column), oneLine(fmt.Sprintf(format, args...))}
}

// maxMessage bounds a message in bytes: a file may quote itself without end.
const maxMessage = 2000

// oneLine returns text fit for one line of a log.
func oneLine(text string) string {
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return strings.NewReplacer("\r", "", "\n", " ", "\t", `\t`).Replace(text)
}

// add reports a mistake at n.
func (p *problems) add(n *node, format string, args ...any) {
	p.addError(p.at(n.pos, format, args...))
}

// advise reports a mistake at n with a hint for the author.
func (p *problems) advise(n *node, advice, format string, args ...any) {
	err := error(p.at(n.pos, format, args...))
	if advice != "" {
		err = hint.With(err, "%s", advice)
	}
	p.addError(err)
}

func (p *problems) addError(err error) {
	if len(p.found) < maxProblems {
		p.found = append(p.found, err)
	}
}

// warn keeps something the author should know that does not stop the run.
func (p *problems) warn(n *node, format string, args ...any) {
	p.warnings = append(p.warnings, p.at(n.pos, format, args...))
}

// warningTexts returns the warnings so far, in the order of the file and each once.
func (p *problems) warningTexts() []string {
	p.sort(p.warnings)
	var texts []string
	for _, w := range p.warnings {
		texts = append(texts, w.Error())
	}
	return slices.Compact(texts)
}

// err returns everything found so far, in the order of the file and each text once.
func (p *problems) err() error {
	p.sort(p.found)
	p.found = slices.CompactFunc(p.found, func(a, b error) bool { return a.Error() == b.Error() })
	return errors.Join(p.found...)
}

// sort puts what was found in the order of the file.
func (p *problems) sort(found []error) {
	rank := map[string]int{p.file: 0} // the file that is loaded comes before its templates
	for _, err := range found {
		if e, ok := errors.AsType[*Error](err); ok {
			if _, known := rank[e.File]; !known {
				rank[e.File] = len(rank)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b error) int {
		x, _ := errors.AsType[*Error](a)
		y, _ := errors.AsType[*Error](b)
		return cmp.Or(cmp.Compare(rank[x.File], rank[y.File]), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
}

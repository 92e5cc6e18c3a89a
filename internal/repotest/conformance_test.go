package repotest

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// How many statements the protocol's checklist (§13) has of each side.
var statements = map[string]int{"A": 38, "S": 16}

// statementTest is the name of a test that holds a statement.
var statementTest = regexp.MustCompile(`^Test([AS][0-9]+)[A-Z]`)

// TestEveryStatementOfTheChecklistIsListedWithItsTests compares the table of
// docs/protocol.md with the tests that are named after statements, both ways.
func TestEveryStatementOfTheChecklistIsListedWithItsTests(t *testing.T) {
	r := repo(t)
	there := make(map[string][]string) // statement → "folder test"
	for _, f := range r.gofile {
		if !f.isTest {
			continue
		}
		for _, d := range f.syntax.Decls {
			if function, ok := d.(*ast.FuncDecl); ok {
				if m := statementTest.FindStringSubmatch(function.Name.Name); m != nil {
					there[m[1]] = append(there[m[1]], "`"+f.folder()+"` "+function.Name.Name)
				}
			}
		}
	}
	listed := make(map[string][]string)
	for line := range strings.Lines(r.text["docs/protocol.md"]) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if id := strings.TrimSpace(cells[0]); len(cells) == 3 && regexp.MustCompile(`^[AS][0-9]+$`).MatchString(id) {
			for name := range strings.SplitSeq(cells[2], ",") {
				listed[id] = append(listed[id], strings.TrimSpace(name))
			}
		}
	}
	for side, n := range statements {
		for i := range n {
			id := fmt.Sprintf("%s%d", side, i+1)
			got, want := slices.Sorted(slices.Values(listed[id])), slices.Sorted(slices.Values(there[id]))
			if len(want) == 0 {
				t.Errorf("no test is named after statement %s", id)
			}
			if !slices.Equal(got, want) {
				t.Errorf("docs/protocol.md lists for %s\n  %s\nwant\n  %s", id, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		}
	}
}

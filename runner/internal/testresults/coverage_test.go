package testresults_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

const (
	cobertura = `<?xml version="1.0" ?>
<!DOCTYPE coverage SYSTEM 'http://cobertura.sourceforge.net/xml/coverage-04.dtd'>
<coverage version="7.2" lines-valid="6" lines-covered="4" line-rate="0.6667" branches-covered="1" branches-valid="2" branch-rate="0.5">
	<packages><package name="." line-rate="0.6667"><classes><class name="lib.py"><lines><line number="1" hits="1"/></lines></class></classes></package></packages>
</coverage>`
	oldCobertura = `<coverage line-rate="0.5" branch-rate="0.5"><packages><package><classes><class>
<methods><method><lines><line number="1" hits="9"/></lines></method></methods>
<lines><line number="1" hits="9" branch="true" condition-coverage="50% (1/2)"/><line number="2" hits="0"/></lines></class></classes></package></packages></coverage>`
	jacoco = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "report.dtd">
<report name="shop"><package name="a"><counter type="LINE" missed="100" covered="100"/></package>
<counter type="INSTRUCTION" missed="3" covered="7"/><counter type="LINE" missed="1" covered="4"/><counter type="CLASS" missed="0" covered="0"/><counter type="NEW" missed="1" covered="1"/></report>`
)

func TestCoverageIsReadFromBothTools(t *testing.T) {
	lines := func(covered, total int) testresults.Counter {
		return testresults.Counter{Label: "Lines", Covered: covered, Total: total, Position: 4}
	}
	branches := func(covered, total int) testresults.Counter {
		return testresults.Counter{Label: "Branches", Covered: covered, Total: total, Position: 6}
	}
	for what, c := range map[string]struct {
		text, tool string
		want       []testresults.Counter
		problem    string
	}{
		"Cobertura":             {cobertura, "cobertura", []testresults.Counter{lines(4, 6), branches(1, 2)}, ""},
		"one without totals":    {oldCobertura, "", []testresults.Counter{lines(1, 2), branches(1, 2)}, ""},
		"JaCoCo":                {jacoco, "JaCoCo", []testresults.Counter{{Label: "Instructions", Covered: 7, Total: 10, Position: 5}, lines(4, 5)}, ""},
		"nothing to reach":      {"<coverage/>", "", nil, ""},
		"the other tool's":      {cobertura, "JaCoCo", nil, "a.xml:3: a file of format JaCoCo begins with <report>, this one with <coverage>"},
		"a tool of no one":      {cobertura, "gcov", nil, `the coverage tool "gcov" is neither Cobertura nor JaCoCo`},
		"a file that is cut":    {jacoco[:250], "", nil, "a.xml:3: unexpected EOF"},
		"something else's file": {"<html/>", "", nil, "begins with <coverage> or <report>, this one with <html>"},
	} {
		got, err := testresults.ReadCoverage(strings.NewReader(c.text), "a.xml", c.tool)
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v, want %q (-want +got):\n%s", what, err, c.problem, diff)
		}
	}
}

func TestCountersOfSeveralFilesAreAdded(t *testing.T) {
	a := []testresults.Counter{{Label: "Lines", Covered: 1, Total: 2}, {Label: "Branches", Covered: 0, Total: 1}}
	got := testresults.Merge(a, nil, []testresults.Counter{{Label: "Lines", Covered: 3, Total: 4}})
	if diff := cmp.Diff([]testresults.Counter{{Label: "Lines", Covered: 4, Total: 6}, {Label: "Branches", Covered: 0, Total: 1}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := got[0].Percent(); p < 66 || p > 67 {
		t.Errorf("%f percent, want two thirds", p)
	}
}

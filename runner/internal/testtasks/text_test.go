package testtasks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

func TestListsOfFilesKeepTheirNames(t *testing.T) {
	for text, want := range map[string][]string{
		"a.xml": {"a.xml"}, "a.xml, b.xml,": {"a.xml", "b.xml"}, "a,b.xml|c.xml": {"a,b.xml", "c.xml"}, " | ": nil, "": nil,
		List([]string{"/a,b.xml"}): {"/a,b.xml"},
	} {
		if diff := cmp.Diff(want, Split(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestNamesOfTestsAreNoMarkdown(t *testing.T) {
	l := failureList{mask: func(s string) string { return strings.ReplaceAll(s, "pass_word", "***") }}
	l.add(testresults.Case{Title: "<img src=x> | [a](http://b) `c`", Message: "is pass_word\nand more"})
	for i := range 60 {
		l.add(testresults.Case{Title: fmt.Sprint("T.t", i), Storage: "T", Message: strings.Repeat("m", 500)})
	}
	text := l.markdown(testresults.Totals{Failed: 61}, "")
	want := "### Test results\n\n61 tests, 0 passed, 61 failed\n\n| failed test | message |\n|---|---|\n" +
		"| &lt;img src=x> \\| \\[a\\](http://b) \\`c\\` | is \\*\\*\\* |\n| T.t0 | " + strings.Repeat("m", 199) + "… |\n"
	if !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "\n\n… and 11 more.\n") {
		t.Errorf("got:\n%s\nwant it to begin with:\n%s", text, want)
	}
	if lines := l.lines(); len(lines) != 11 || lines[0] != "Failed: <img src=x> | [a](http://b) `c` (is ***)" || lines[10] != "… and 51 more." {
		t.Errorf("lines = %q", lines)
	}
}

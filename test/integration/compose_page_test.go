package integration_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	composePage = "../../docs/compose.md"
	suiteBegin  = "<!-- suite: generated from test/compose by go test ./test/integration -run ComposePage -update -->\n"
	suiteEnd    = "<!-- end of suite -->\n"
)

// TestTheComposePageListsEveryFolderOfTheSuite keeps the page equal to what the
// folders say, which the tests of both programs hold them to.
func TestTheComposePageListsEveryFolderOfTheSuite(t *testing.T) {
	text, err := os.ReadFile(composePage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), suiteBegin)
	got, after, ended := strings.Cut(rest, suiteEnd)
	if !ok || !ended {
		t.Fatalf("%s lacks the marks of the table", composePage)
	}
	var b strings.Builder
	b.WriteString("| folder | what it shows | dockless | docker compose |\n|---|---|---|---|\n")
	for _, c := range composeCases(t) {
		if c.what == "" {
			t.Errorf("%s does not say on top of its file what it shows", c.name)
		}
		ours := "runs"
		switch {
		case len(c.Refused) > 0:
			ours = "refuses"
		case c.Fails != "":
			ours = "ends with the error"
		case c.Podman != "":
			ours = "runs on Podman " + c.Podman + " and newer"
		}
		theirs := "the same"
		if verdict, why, ok := strings.Cut(c.Docker, ": "); ok {
			theirs = map[string]string{"fails": "does not: ", "passes": "runs it: "}[verdict] + why
		}
		fmt.Fprintf(&b, "| [%s](../test/compose/%s/compose.yml) | %s | %s | %s |\n", c.name, c.name, strings.ReplaceAll(c.what, "|", `\|`), ours, theirs)
	}
	if want := b.String(); got != want {
		if !*update {
			t.Errorf("the table of folders in %s is stale; run go test ./test/integration -run ComposePage -update", composePage)
			return
		}
		if err := os.WriteFile(composePage, []byte(before+suiteBegin+want+suiteEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

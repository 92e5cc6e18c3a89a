package composefile

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of keys in docs/compose.md")

const (
	page      = "../../../docs/compose.md"
	keysBegin = "<!-- keys: generated from podmanrun/internal/composefile/keys.go by its test with -update -->\n"
	keysEnd   = "<!-- end of keys -->\n"
)

func TestThePageNamesEveryKeyAndItsVerdict(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), keysBegin)
	got, after, ended := strings.Cut(rest, keysEnd)
	if !ok || !ended {
		t.Fatalf("%s lacks the marks of the table", page)
	}
	want := keyPage()
	if got == want {
		return
	}
	if !*update {
		t.Errorf("the table of keys in %s is stale; run go test ./podmanrun/internal/composefile -update", page)
		return
	}
	if err := os.WriteFile(page, []byte(before+keysBegin+want+keysEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// keyPage is a table for the keys of services, and one for all others.
func keyPage() string {
	var b strings.Builder
	head := func() { b.WriteString("| key | honoured | told and ignored | refused |\n|---|---|---|---|\n") }
	root := composeKeys()
	services := root.children["services"].each
	b.WriteString("### Of services\n\n")
	head()
	keyRows(&b, services, "")
	b.WriteString("\n### Of files, networks, volumes, configs and secrets\n\n")
	head()
	rest := *root
	rest.children = maps.Clone(root.children)
	delete(rest.children, "services")
	keyRows(&b, &rest, "")
	return b.String()
}

// keyRows writes a row for each key of t, and below it one for its own keys.
func keyRows(b *strings.Builder, t *keyTable, path string) {
	for _, key := range slices.Sorted(maps.Keys(t.keys)) {
		name := path + key
		if t.keys[key] == supported {
			fmt.Fprintf(b, "| `%s` | yes | | |\n", name)
		} else {
			why := reasons()[key]
			if why == "" {
				why = reasons()[strings.Split(name, ".")[0]]
			}
			if why == "" {
				why = "yes"
			}
			cells := map[verdict]string{ignored: "| " + why + " | |", unsupported: "| | " + why + " |"}
			fmt.Fprintf(b, "| `%s` | %s\n", name, cells[t.keys[key]])
		}
		child := t.children[key]
		if child == nil {
			continue
		}
		below := name + "."
		if child.open {
			child, below = child.each, name+".*."
		}
		if child != nil {
			keyRows(b, child, below)
		}
	}
}

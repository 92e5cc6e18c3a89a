package runner

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/tasks.md is what authors of pipelines read.
func TestTheDocumentsListTheBuiltIns(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "tasks.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Built-in tasks")
	table, _, _ = strings.Cut(table, "\n## ")
	written := []string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		written = append(written, regexp.MustCompile(`[A-Za-z]+@\d+`).FindAllString(cells[1], -1)...)
	}
	built := []string{}
	for key, b := range builtins {
		_, major, _ := strings.Cut(key, "@")
		if b.name == "" || b.title == "" || b.description == "" {
			t.Errorf("built-in %s lacks its name, title or description", key)
		}
		if b.name != "checkout" && b.name != "download" {
			built = append(built, b.name+"@"+major)
		}
	}
	slices.Sort(written)
	slices.Sort(built)
	if diff := cmp.Diff(built, written); diff != "" {
		t.Errorf("docs/tasks.md (-built +written):\n%s", diff)
	}
}

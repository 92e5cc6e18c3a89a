package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What a file can ask for is bounded, as on the service (language document §2.10.4), and
// refusing it takes no longer than a person waits.
func TestAFileCannotAskForTooMuch(t *testing.T) {
	const many = 1 << 18
	const deep, big, loops = "Maximum object depth exceeded", "Maximum object size exceeded", "Maximum events exceeded while evaluating the template."
	thousand := "parameters:\n- name: l\n  type: object\n  default: [" + strings.Repeat("a, ", 1000) + "]\nsteps:\n"
	keys := new(strings.Builder)
	for i := range 2 * maxKeys {
		fmt.Fprintf(keys, "  a%d: b\n", i)
	}
	tests := map[string]struct{ text, want string }{
		"flow lists":      {"steps: " + strings.Repeat("[", many), deep},
		"flow mappings":   {"steps: " + strings.Repeat("{a: ", many), deep},
		"lists in lists":  {"steps:\n" + strings.Repeat("- ", many) + "a", deep},
		"explicit keys":   {"steps:\n" + strings.Repeat("? ", many) + "a", deep},
		"keys on a line":  {"a: " + strings.Repeat("a: ", many), deep},
		"tags":            {"a: " + strings.Repeat("!!str ", many), deep},
		"anchors":         {"a: " + strings.Repeat("&a ", many), deep},
		"101 levels":      {"a:" + strings.Repeat(" {a:", maxNesting) + strings.Repeat("}", maxNesting), deep},
		"keys":            {"variables:\n" + keys.String(), "A mapping has more than 10000 keys"},
		"bytes":           {"#" + strings.Repeat("x", maxFileBytes), big},
		"loops":           {thousand + "- ${{ each a in parameters.l }}:\n  - ${{ each b in parameters.l }}:\n    - ${{ each c in parameters.l }}:\n      - script: a\n", loops},
		"a list of lists": {thousand + "- ${{ each a in parameters.l }}:\n  - ${{ each b in parameters.l }}:\n    - task: X@1\n      inputs: {a: '${{ parameters.l }}'}\n", loops},
		"texts": {
			"parameters:\n- {name: l, type: object, default: [a, b, c, d]}\n- {name: t, default: " + strings.Repeat("x", 6<<20) + "}\nsteps:\n- ${{ each a in parameters.l }}:\n  - script: ${{ a }} ${{ parameters.t }}\n", big,
		},
		"aliases": {"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nsteps: [*c, *c]\n", "Anchors are not currently supported. Remove the anchor 'a'"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := Load(Source{File: "a.yml", Content: []byte(test.text)}, Options{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Load = %.300v, want %q", err, test.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s to refuse", took)
			}
		})
	}
	wide := "steps:\n" + strings.Repeat("- script: a\n", 2*maxKeys) + "variables: {a: b}\n"
	if _, err := Load(Source{File: "a.yml", Content: []byte(wide)}, Options{}); err != nil {
		t.Errorf("a long list = %.300v, want no error", err)
	}
}

// Whatever is wrong with the syntax is told in one line, with its place.
func TestMalformedYAMLIsOneLine(t *testing.T) {
	for _, text := range []string{
		"steps:\n\t- script: a\n", "steps: [", "steps: {a", "steps:\n- script: 'a\n", "steps:\n- script: \"\\q\"\n", "a: b: c\n", "- a\nb: c\n",
		"steps:\n  - a\n - b\n", "a: |x\n  b\n", "a: !<\n", "%YAML 9\n---\na: b\n", "*a", "&", "? [a\n", "a: @b\n", "a: `b`\n", "]", "}", "a: b\n  c: d\n", "\x00", "\xff\xfe",
	} {
		_, err := Load(Source{File: "ci.yml", Content: []byte(text)}, Options{})
		if err == nil {
			t.Errorf("%q was accepted", text)
			continue
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "/ci.yml (Line: ") || len(line) < len("/ci.yml (Line: 1, Col: 1): x") {
				t.Errorf("%q: line %q has no place", text, line)
			}
		}
		if testing.Verbose() {
			t.Logf("%q\n%v", text, err)
		}
	}
}

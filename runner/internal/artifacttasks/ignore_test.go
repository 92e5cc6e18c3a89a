package artifacttasks

import (
	"strings"
	"testing"
)

func TestTheListOfWhatIsNotPublishedIsReadAsGitReadsIt(t *testing.T) {
	for rules, want := range map[string]map[string]bool{
		"*.log":                   {"a.log": true, "b/c.log": true, "a.log/x": true, "a.logs": false},
		"/top":                    {"top": true, "a/top": false, "top/x": true},
		"a/b":                     {"a/b": true, "x/a/b": false, "a/b/c": true},
		"dir/":                    {"dir": false, "dir/x": true, "a/dir/x": true},
		"**/x":                    {"x": true, "a/b/x": true, "xx": false},
		"a/**/z":                  {"a/z": true, "a/b/c/z": true, "z": false},
		"a/**":                    {"a": false, "a/b": true, "a/b/c": true},
		"*\n!keep":                {"x": true, "keep": false, "d/keep": true}, // d itself is left out
		"*.o\n!*.o":               {"a.o": false},
		"/*\n!/a\n/a/*\n!/a/b":    {"a/b": false, "a/c": true, "z": true},
		"# comment\n\n\\#x\n\\!y": {"#x": true, "!y": true, "comment": false},
		"a?c":                     {"abc": true, "a/c": false, "ac": false},
		"[a-c]x\n[!d]y":           {"ax": true, "dx": false, "ey": true, "dy": false},
		"[z":                      {"[z": true, "z": false},
		"x[]a]y":                  {"x]y": true, "xay": true, "xby": false},
		"sp\\ \ntrail   ":         {"sp ": true, "trail": true},
		".git/\r\nb\r":            {".git/config": true, "b": true},
		"ä*":                      {"ärger": true, "a": false},
		"a.b":                     {"a.b": true, "axb": false},
	} {
		list, err := parseIgnore(strings.NewReader(rules))
		if err != nil {
			t.Fatal(err)
		}
		for name, out := range want {
			if got := list.ignores(name); got != out {
				t.Errorf("%q leaves out %s: %t, want %t", rules, name, got, out)
			}
		}
	}
}

func TestAListThatIsTooLongIsAnError(t *testing.T) {
	for _, text := range []string{strings.Repeat("a\n", maxRules+1), strings.Repeat("#\n", maxIgnore)} {
		if _, err := parseIgnore(strings.NewReader(text)); err == nil {
			t.Errorf("%d bytes were read", len(text))
		}
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.log\n!a/**/b\n[^x-", "a/x/b")
	f.Add("\\", "\\")
	f.Add("[!]]\n[[:alpha:]]\n[z-a]", "]")
	f.Fuzz(func(t *testing.T, rules, name string) {
		list, err := parseIgnore(strings.NewReader(rules))
		if err == nil {
			list.ignores(name)
		}
	})
}

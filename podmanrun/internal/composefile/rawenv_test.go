package composefile

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func lookup(name string) (string, bool) { return "from outside", name == "KNOWN" }

func TestARawEnvFileIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	got := make(map[string]string)
	text := "\ufeffA='quoted' $B # no comment\n# a comment\n\n  INDENTED= x \nKNOWN\nUNKNOWN\nEMPTY=\nTWO=a=b\r\n"
	if err := parseRaw(strings.NewReader(text), "x.env", got, lookup); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "'quoted' $B # no comment", "INDENTED": " x ", "KNOWN": "from outside", "EMPTY": "", "TWO": "a=b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables differ (-want +got):\n%s", diff)
	}
	err := parseRaw(strings.NewReader("A=1\nNOT A NAME=2\n"), "x.env", got, nil)
	if want := `x.env:2: "NOT A NAME" cannot be the name of a variable`; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

func FuzzARawEnvFileYieldsNamesOnly(f *testing.F) {
	for _, seed := range []string{"A=1", "=1", "A", "KNOWN\nA = 1", "#A=1\n\r\n\x00=\x00", "\ufeffA=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := make(map[string]string)
		if parseRaw(strings.NewReader(text), "x.env", got, lookup) != nil {
			return
		}
		for name := range maps.Keys(got) {
			if name == "" || strings.ContainsAny(name, "= \t\n") {
				t.Errorf("%q yields the name %q", text, name)
			}
		}
	})
}

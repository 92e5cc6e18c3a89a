package console

import (
	"strings"
	"testing"
)

func TestTextIsWrappedAtItsColumn(t *testing.T) {
	for name, test := range map[string]struct {
		text          string
		indent, width int
		want          string
	}{
		"no width":      {"a b c", 4, 0, "a b c"},
		"fits":          {"aaa bbb", 4, 11, "aaa bbb"},
		"breaks":        {"aaa bbb ccc", 4, 11, "aaa bbb\n    ccc"},
		"one long word": {"aaaaaaaaaaaa b", 2, 6, "aaaaaaaaaaaa\n  b"},
		"runes":         {"ää öö", 0, 5, "ää öö"},
	} {
		if got := Wrap(test.text, test.indent, test.width); got != test.want {
			t.Errorf("%s: Wrap() = %q, want %q", name, got, test.want)
		}
	}
	if got := Cut("päckchen", 5); got != "päck…" {
		t.Errorf("Cut() = %q", got)
	}
	if got := Cut("abc", 0); got != "abc" {
		t.Errorf("Cut() without width = %q", got)
	}
	if got := strings.Join([]string{Count(1, "record"), Count(2, "record")}, ", "); got != "1 record, 2 records" {
		t.Errorf("Count() = %q", got)
	}
}

package console

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console/consoletest"
)

func FuzzVisible(f *testing.F) {
	f.Add(consoletest.Hostile)
	f.Add("a\xff\xfeb\tc")
	f.Fuzz(func(t *testing.T, text string) {
		got := visible(text)
		if strings.ContainsFunc(got, unicode.IsControl) || len(consoletest.Obeyed(got)) > 0 || !utf8.ValidString(got) {
			t.Errorf("visible(%q) = %q", text, got)
		}
		if utf8.RuneCountInString(got) != utf8.RuneCountInString(text) || visible(got) != got {
			t.Errorf("visible(%q) = %q, of another length or not at rest", text, got)
		}
	})
}

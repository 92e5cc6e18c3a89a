package mask_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/mask"
)

func TestAShortSecretIsReportedOnce(t *testing.T) {
	s := mask.NewSet()
	for _, test := range []struct {
		values []string
		want   bool
	}{
		{[]string{"long enough", ""}, false},
		{[]string{"four"}, false},
		{[]string{"long", "abc"}, true},
		{[]string{"abc"}, false}, // known
		{[]string{" ab\n"}, true},
		{[]string{"äöü"}, true}, // six bytes
		{[]string{`"xy"`}, true},
		{[]string{"a\nb"}, true},
		{[]string{"  "}, false},
	} {
		if got := s.Add(test.values...); got.Short != test.want || got.Partial {
			t.Errorf("Add(%q) = %+v, want short: %t", test.values, got, test.want)
		}
		_ = s.Mask("what was added is compiled")
	}
	s = mask.NewSet(mask.MinLength(3))
	if s.Add("ab").Short {
		t.Error(`Add("ab") = true, though values of two bytes are ignored`)
	}
	if !s.Add("abc").Short {
		t.Error(`Add("abc") = false, want true`)
	}
}

func TestASetStaysRightWhileItGrows(t *testing.T) {
	s := mask.NewSet()
	var secrets []string
	var out bytes.Buffer
	w := s.NewWriter(&out)
	for i := range 60 {
		secrets = append(secrets, strings.Repeat(string(rune('a'+i%26)), 5+i/26)+strings.Repeat("z", i%3))
		s.Add(secrets[i])
		for _, secret := range secrets {
			write(t, w, "<"+secret+">")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), strings.Repeat("<***>", 60*61/2); got != want {
		t.Errorf("the output is %q", got)
	}
}

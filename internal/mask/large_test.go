package mask_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/mask"
)

// wrapped breaks text into lines.
func wrapped(text string, width int) string {
	var lines []string
	for len(text) > width {
		lines, text = append(lines, text[:width]), text[width:]
	}
	return strings.Join(append(lines, text), "\n")
}

func TestOfAHugeSecretTheWholeAndItsLinesAreHidden(t *testing.T) {
	value := "\n" + largeSecret(100<<10) + "\n"
	s := mask.NewSet()
	if added := s.Add(value); added != (mask.Added{}) {
		t.Errorf("Add = %+v, want nothing to tell", added)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(value))
	for name, text := range map[string]string{
		"the value": value, "without blanks": strings.TrimSpace(value), "a line": strings.Split(value, "\n")[700],
		"base64": encoded, "base64(1)": wrapped(encoded, 76), "openssl(1)": wrapped(encoded, 64),
		"base64 without blanks": base64.StdEncoding.EncodeToString([]byte(strings.TrimSpace(value))),
	} {
		if got := s.Mask("<" + text + ">"); got != "<***>" {
			t.Errorf("%s is shown: %.80q", name, got)
		}
	}
	total := 0
	for _, form := range mask.Forms(value) {
		total += len(form)
	}
	if most := 12 * len(value); total > most {
		t.Errorf("the forms of %d bytes have %d bytes, want at most %d", len(value), total, most)
	}
}

// What secrets cost has a bound, which a step must not reach unnoticed.
func TestASetThatIsFullHidesValuesAndTheirLinesAndSaysSo(t *testing.T) {
	first, second, small := largeSecret(100<<10), strings.ToLower(largeSecret(90<<10)), "hunter22\nhunter2222"
	s := mask.NewSet()
	s.SetMostStates(800_000)
	if added := s.Add(first); added.Partial {
		t.Errorf("Add of one of 100 KiB = %+v, want all of its forms", added)
	}
	if added := s.Add(second, small); !added.Partial {
		t.Errorf("Add of what does not fit = %+v, want it told", added)
	}
	if added := s.Add(second, small); added != (mask.Added{}) {
		t.Errorf("Add of the same = %+v, want nothing to tell again", added)
	}
	for name, text := range map[string]string{
		"the first": base64.StdEncoding.EncodeToString([]byte(first)), "the second": second, "a line of it": strings.Split(second, "\n")[900],
		"a small one": small, "its line": "hunter2222",
	} {
		if got := s.Mask("<" + text + ">"); got != "<***>" {
			t.Errorf("%s is shown: %.80q", name, got)
		}
	}
}

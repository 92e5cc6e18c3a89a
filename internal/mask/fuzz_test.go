package mask_test

import (
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/mask"
)

// FuzzMask checks the masker against the plainest one there is, and that the
// cuts of a stream change nothing.
func FuzzMask(f *testing.F) {
	f.Add("hunter22", "er", "a hunter22 b", uint8(3))
	f.Add("two\nlines", " % ", "two\r\nlines", uint8(1))
	f.Add("abab", "babc", "ababababc", uint8(2))
	f.Add("\"q'", "\xff\xfe", "see h://u:p@h and /8=", uint8(5))
	f.Add("a", "aa", "aaaaaaaa", uint8(1))
	f.Add("-----BEGIN KEY-----\r\nMIIEvQIB=A\\nsecond-line\r\n", "three\rquotes'$\x01", "x\n  MIIEvQIB=A", uint8(7))
	f.Add("forty-bytes-of-a-secret-that-xxd-will-wrap", "abc", "666f7274792d62", uint8(9))
	f.Fuzz(func(t *testing.T, one, two, text string, cut uint8) {
		if len(one)+len(two) > 200 || len(text) > 2000 {
			return // compiling large forms dominates and finds nothing new
		}
		s := mask.NewSet()
		s.Add(one, two)
		var forms []string
		for _, secret := range []string{one, two} {
			if strings.TrimSpace(secret) != "" {
				forms = append(forms, mask.Forms(secret)...)
			}
		}
		// The text alone seldom holds a form; this one holds some, whole and cut.
		if len(forms) > 0 {
			form := forms[int(cut)%len(forms)]
			text += form + text + form[:len(form)/2] + form + form[len(form)/2:]
		}
		got := s.Mask(text)
		grown := mask.NewSet() // the same, compiled in two parts
		grown.Add(one)
		_ = grown.Mask(text)
		grown.Add(two)
		if grown := grown.Mask(text); grown != got {
			t.Errorf("with a secret that came later: %q, at once: %q", grown, got)
		}
		if streamed := stream(t, s, text, int(cut)%17+1); streamed != got {
			t.Errorf("in pieces of %d: %q, at once: %q", int(cut)%17+1, streamed, got)
		}
		if !strings.Contains(text, "://") {
			if want := plainMask(text, forms); got != want {
				t.Errorf("Mask(%q) with %q, %q = %q, want %q", text, one, two, got, want)
			}
		}
		for _, form := range forms {
			if !strings.Contains(form, "*") && strings.Contains(got, form) {
				t.Errorf("Mask(%q) = %q shows %q", text, got, form)
			}
		}
	})
}

// plainMask is the definition of masking: every byte of every occurrence of
// every form is hidden, and a run of hidden bytes becomes one replacement.
func plainMask(text string, forms []string) string {
	hidden := make([]bool, len(text))
	for _, form := range forms {
		for at := range len(text) - len(form) + 1 {
			if text[at:at+len(form)] == form {
				for i := at; i < at+len(form); i++ {
					hidden[i] = true
				}
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(mask.Replacement)
		}
	}
	return b.String()
}

// FuzzEveryForm checks that each form of a secret is hidden in each cut of a
// stream, also when the secret came while another was being looked for.
func FuzzEveryForm(f *testing.F) {
	f.Add("p@ss/w0rd it's", "before ", " after")
	f.Add("first-line\nsecond-line", "2025 ", "\n")
	f.Add("abc", "", "\xff")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		if len(secret) > 60 || len(before)+len(after) > 60 {
			return
		}
		s := mask.NewSet()
		s.Add("another secret, of which there is nothing in the text")
		_ = s.Mask("")
		s.Add(secret)
		if strings.TrimSpace(secret) == "" {
			return
		}
		for _, form := range mask.Forms(secret) {
			text := before + form + after
			want := s.Mask(text)
			if !strings.Contains(form, "*") && strings.Contains(want, form) {
				t.Errorf("Mask(%q) = %q shows %q", text, want, form)
			}
			for at := range len(text) {
				var out strings.Builder
				w := s.NewWriter(&out)
				write(t, w, text[:at])
				write(t, w, text[at:])
				if err := w.Close(); err != nil || out.String() != want {
					t.Errorf("%q cut at %d: %q, %v, want %q", text, at, out.String(), err, want)
				}
			}
		}
	})
}

// FuzzPattern checks that a pattern hides the same however a stream is cut.
func FuzzPattern(f *testing.F) {
	f.Add("tok-[0-9]+", "tok-1\ntok-2 x\r\n", "ok", uint8(1))
	f.Add("^a|b$", "ab\nba\n\n", "a", uint8(2))
	f.Fuzz(func(t *testing.T, expr, text, secret string, cut uint8) {
		if len(text) > 2000 || len(secret) > 100 {
			return
		}
		s := mask.NewSet()
		if s.AddPattern(expr) != nil {
			return
		}
		s.Add(secret)
		if got, want := stream(t, s, text, int(cut)%17+1), s.Mask(text); got != want {
			t.Errorf("pattern %q, text %q in pieces of %d: %q, at once %q", expr, text, int(cut)%17+1, got, want)
		}
	})
}

package mask_test

import (
	"bytes"
	"compress/flate"
	"math/rand/v2"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/dockless-ci/dockless/internal/mask"
)

func TestASecretIsHiddenInTextOfEveryEncoding(t *testing.T) {
	s := set(t, "hunter22", "pässwörd")
	const text, want = "<a>é hunter22 and pässwörd</a>", "<a>é *** and ***</a>"
	encode := func(text string, f func(string) (string, error)) []byte {
		out, err := f(text)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(out)
	}
	for what, f := range map[string]func(string) (string, error){
		"UTF-8":                    func(text string) (string, error) { return text, nil },
		"Latin 1":                  charmap.ISO8859_1.NewEncoder().String,
		"UTF-16, little":           unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String,
		"UTF-16, big":              unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().String,
		"UTF-16, little, no mark":  unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder().String,
		"UTF-16, big, no mark":     unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder().String,
		"UTF-16, with half a unit": func(text string) (string, error) { return utf16Half(text) },
		"two of them in one": func(text string) (string, error) {
			latin, err := charmap.ISO8859_1.NewEncoder().String(text)
			return latin + text, err
		},
	} {
		in, out := encode(text, f), encode(want, f)
		if got := s.MaskText(in); !mask.IsText(in) || !bytes.Equal(got, out) {
			t.Errorf("%s: %q became %q, want %q; text: %t", what, in, got, out, mask.IsText(in))
		}
		if got := s.MaskText(out); !bytes.Equal(got, out) {
			t.Errorf("%s: %q without a secret became %q", what, out, got)
		}
	}
}

func utf16Half(text string) (string, error) {
	out, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(text)
	return out + "x", err
}

func TestArchivesAreNoText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err == nil {
		for range 5000 {
			_, _ = w.Write([]byte{"0123456789abcdef"[random.IntN(16)]}) // a buffer takes everything
		}
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	withoutZeros := bytes.ReplaceAll(packed.Bytes(), []byte{0}, []byte{1})
	for what, content := range map[string][]byte{"with a zero": []byte("PK\x03\x04\x00hunter22\xff"), "without": withoutZeros} {
		if mask.IsText(content) {
			t.Errorf("an archive %s is taken for text", what)
		}
	}
	for _, text := range []string{"", "x", "caf\xe9 \x1b[31mred\x1b[0m", "\x01 is UTF-8"} {
		if !mask.IsText([]byte(text)) {
			t.Errorf("%q is not taken for text", text)
		}
	}
}

func FuzzMaskText(f *testing.F) {
	for _, seed := range []string{"hunter22", "\xff\xfeh\x00", "<\x00\x00\xd8x", "\xe9 hunter22", "\x00<\x00h\x00u\x00n\x00t\x00e\x00r\x002\x002"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s := set(t, "hunter22", "pässwörd")
		before := bytes.Clone(content)
		got := s.MaskText(content)
		if !bytes.Equal(before, content) {
			t.Error("the content was changed in place")
		}
		if bytes.Contains(got, []byte("hunter22")) && !bytes.HasPrefix(content, []byte("\xff\xfe")) && !bytes.HasPrefix(content, []byte("\xfe\xff")) &&
			!bytes.HasPrefix(content, []byte("<\x00")) && !bytes.HasPrefix(content, []byte("\x00<")) {
			t.Errorf("%q became %q", content, got)
		}
		if again := s.MaskText(got); !bytes.Equal(again, got) {
			t.Errorf("%q became %q, and that %q", content, got, again)
		}
	})
}

package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/kelseyhightower/envconfig"

	"github.com/dockless-ci/dockless/internal/mask"
)

// awkward has everything that some encoder treats specially.
const awkward = `p@ss/w0rd "it's" 100% <&> \ ~é+` + "\tend"

func set(t testing.TB, secrets ...string) *mask.Set {
	t.Helper()
	s := mask.NewSet()
	s.Add(secrets...)
	return s
}

func TestASecretIsHiddenInEveryFormItCanTake(t *testing.T) {
	goJSON, err := json.Marshal(awkward)
	if err != nil {
		t.Fatal(err)
	}
	var plainJSON bytes.Buffer
	enc := json.NewEncoder(&plainJSON)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(awkward); err != nil {
		t.Fatal(err)
	}
	const long = "-----BEGIN KEY-----\r\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\r\nCzAB7Yh2pZ\r\n-----END KEY-----\r\n"
	b64 := base64.StdEncoding.EncodeToString
	tests := []struct{ name, secret, text, want string }{
		{"as it is", "hunter22", "pw=hunter22;", "pw=***;"},
		{"percent escaped for commands", "a%b\r\nc", "x a%AZP25b%0D%0Ac y", "x *** y"},
		{"line ends escaped for commands", "a%b\r\nc", "x a%b%0D%0Ac y", "x *** y"},
		{"over two lines", "first\nsecond", "x first\nsecond y", "x *** y"},
		{"over two lines with the other line ending", "first\nsecond", "x first\r\nsecond y", "x *** y"},
		{"CRLF value printed with LF", "first\r\nsecond", "x first\nsecond y", "x *** y"},
		{"base64", "hunter22", "x " + b64([]byte("hunter22")) + " y", "x *** y"},
		{"base64 of the escaped form", "a%b\nc", b64([]byte("a%AZP25b%0Ac")), "***"},
		{"base64 without padding", "hunter22", "x " + base64.RawStdEncoding.EncodeToString([]byte("hunter22")) + " y", "x ***I y"},
		{"base64 in a URI", "hunter22???>", url.QueryEscape(b64([]byte("hunter22???>"))), "***"},
		{"base64 in the URL alphabet", "????>>>>~~~~", base64.URLEncoding.EncodeToString([]byte("????>>>>~~~~")), "***"},
		{"base64 wrapped at 76", long, wrapAt(b64([]byte(long)), 76), "***"},
		{"base64 wrapped at 64", long, wrapAt(b64([]byte(long)), 64), "***"},
		{"without quotes", `"hunter22"`, "x hunter22 y", "x *** y"},
		{"without single quotes", `'hunter22'`, "x hunter22 y", "x *** y"},
		{"without blanks", "  hunter22\n", "x hunter22 y", "x *** y"},
		{"Go JSON", awkward, string(goJSON), `"***"`},
		{"plain JSON", awkward, strings.TrimSpace(plainJSON.String()), `"***"`},
		{"Python JSON", "pä'ss\t1", `"p\u00e4'ss\t1"`, `"***"`},
		{"JSON with escaped slashes", "ab/cd/ef", `"ab\/cd\/ef"`, `"***"`},
		{"query", awkward, url.QueryEscape(awkward), "***"},
		{"path", awkward, url.PathEscape(awkward), "***"},
		{"lower-case escapes", "a/b c?d", "a%2fb%20c%3fd", "***"},
		{"upper-case escapes, plus for space", "a/b c?d", "a%2Fb+c%3Fd", "***"},
		{"double quoted shell string", `a"b$c\d`, `a\"b\$c\\d`, "***"},
		{"single quoted shell string", `it's me`, `it'\''s me`, "***"},
		{"Go string", awkward, fmt.Sprintf("%q", awkward), `"***"`},
		{"stored with backslashes, printed without", `a\\b\"c`, `a\b"c`, "***"},
		{"blanks within", "two words", "x two words y", "x *** y"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := set(t, test.secret)
			if got := s.Mask(test.text); got != test.want {
				t.Errorf("Mask(%q) = %q, want %q", test.text, got, test.want)
			}
			if got := stream(t, s, test.text, 1); got != test.want {
				t.Errorf("written byte by byte, %q gives %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func wrapAt(text string, n int) string {
	var lines []string
	for len(text) > n {
		lines, text = append(lines, text[:n]), text[n:]
	}
	return strings.Join(append(lines, text), "\n")
}

func TestASecretInsideALongerBase64TextIsHidden(t *testing.T) {
	const secret = "correct horse battery staple"
	s := set(t, secret)
	for before := range 7 {
		for after := range 7 {
			text := strings.Repeat("u", before) + secret + strings.Repeat("v", after)
			masked := s.Mask(base64.StdEncoding.EncodeToString([]byte(text)))
			// What remains around the mask may tell at most the bits that the
			// first and last byte share with their neighbours.
			if rest := strings.TrimRight(masked, "="); len(rest) > (before+after)*8/6+2*2+len(mask.Replacement) || !strings.Contains(masked, mask.Replacement) {
				t.Errorf("base64 with %d bytes before and %d behind the secret gives %q", before, after, masked)
			}
		}
	}
}

func TestNeighboursAreHiddenTogether(t *testing.T) {
	tests := []struct {
		name    string
		secrets []string
		text    string
		want    string
	}{
		{"adjacent", []string{"alpha", "beta"}, "<alphabeta>", "<***>"},
		{"overlapping", []string{"abcd", "cdef"}, "<abcdef>", "<***>"},
		{"one within the other", []string{"bc", "abcd"}, "<abcd> <bc>", "<***> <***>"},
		{"one within the other that does not come true", []string{"bc", "abcd"}, "<abcx>", "<a***x>"},
		{"itself", []string{"aa"}, "<aaaaa> <a>", "<***> <a>"},
		{"apart", []string{"alpha", "beta"}, "<alpha beta>", "<*** ***>"},
		{"an address beside a value", []string{"host/"}, "h://u:pw@host/", "h://u:***@***"},
		{"a chain", []string{"ab", "bc", "cd", "de"}, "abcde", "***"},
		{"one byte", []string{"x"}, "axbxxc", "a***b***c"},
		{"two bytes", []string{"xy"}, "axybxyxyc", "a***b***c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := set(t, test.secrets...)
			if got := s.Mask(test.text); got != test.want {
				t.Errorf("Mask(%q) = %q, want %q", test.text, got, test.want)
			}
			for size := 1; size <= 3; size++ {
				if got := stream(t, s, test.text, size); got != test.want {
					t.Errorf("%q in writes of %d gives %q, want %q", test.text, size, got, test.want)
				}
			}
		})
	}
}

func TestPasswordsInAddressesAreHidden(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"git", "https://me:tok3n@dev.azure.com/org", "https://me:***@dev.azure.com/org"},
		{"no user", "redis://:s3cret@cache:6379/0", "redis://:***@cache:6379/0"},
		{"user is an address", "https://me@corp.com:pw@host", "https://me@corp.com:***@host"},
		{"at sign in the password", "https://u:p@ss@host/", "https://u:***@host/"},
		{"colon in the password", "https://u:p:q@host/", "https://u:***@host/"},
		{"port, no user", "http://localhost:4873/@scope/pkg", "http://localhost:4873/@scope/pkg"},
		{"port at the end", "listening on http://localhost:8080", "listening on http://localhost:8080"},
		{"user alone", "https://me@host/", "https://me@host/"},
		{"empty password", "https://me:@host/", "https://me:@host/"},
		{"two", "a://u:p@h b://v:q@i", "a://u:***@h b://v:***@i"},
		{"one begins in the other", "proxy://host://u:p@h", "proxy://host://u:***@h"},
		{"in JSON", `{"url":"https://u:p@h"}`, `{"url":"https://u:***@h"}`},
		{"on two lines", "see http://host:80\nmail a@b", "see http://host:80\nmail a@b"},
		{"colons", ":://::/", ":://::/"},
		{"not an address", "a:/b:c@d", "a:/b:c@d"},
		{"already hidden", "https://u:***@h", "https://u:***@h"},
	}
	s := mask.NewSet()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := s.Mask(test.text); got != test.want {
				t.Errorf("Mask(%q) = %q, want %q", test.text, got, test.want)
			}
			for size := 1; size <= 4; size++ {
				if got := stream(t, s, test.text, size); got != test.want {
					t.Errorf("%q in writes of %d gives %q, want %q", test.text, size, got, test.want)
				}
			}
		})
	}
}

func TestAnAddressIsFoundAtEveryOffset(t *testing.T) {
	for before := range 40 {
		for _, filler := range []string{"x", "/", "a/", "://"} {
			text := strings.Repeat(filler, before) + " git://me:tok3n@host"
			if got, want := mask.NewSet().Mask(text), strings.Replace(text, "tok3n", mask.Replacement, 1); got != want {
				t.Errorf("Mask(%q) = %q, want %q", text, got, want)
			}
		}
	}
}

func TestAPatternHidesWhatItMatchesInALine(t *testing.T) {
	s := mask.NewSet()
	for _, pattern := range []string{`tok-[0-9a-f]+`, `^id=.*$`, `x*`} {
		if err := s.AddPattern(pattern); err != nil {
			t.Fatalf("AddPattern(%q): %v", pattern, err)
		}
	}
	const text = "use tok-00ff now\r\nid=4711\r\nmy id=5\ntok-\nlast tok-1"
	const want = "use *** now\r\n***\r\nmy id=5\ntok-\nlast ***"
	if got := s.Mask(text); got != want {
		t.Errorf("Mask(%q) = %q, want %q", text, got, want)
	}
	for size := 1; size < len(text); size++ {
		if got := stream(t, s, text, size); got != want {
			t.Errorf("in writes of %d: %q, want %q", size, got, want)
		}
	}
}

func TestAPatternIsFoundAnywhereInAnEndlessLine(t *testing.T) {
	s := mask.NewSet()
	if err := s.AddPattern("tok-[0-9]{8}"); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat(strings.Repeat("-", 9973)+"tok-12345678", 40)
	want := strings.ReplaceAll(text, "tok-12345678", mask.Replacement)
	if s.Mask(text) != want {
		t.Error("Mask missed a match in a line of 400 kB")
	}
	if stream(t, s, text, 1000) != want {
		t.Error("the writer missed a match in a line of 400 kB")
	}
}

func TestAPatternThatDoesNotCompileIsRefused(t *testing.T) {
	for _, expr := range []string{"", "(", "(?<=look)behind"} {
		if err := mask.NewSet().AddPattern(expr); err == nil {
			t.Errorf("AddPattern(%q) = nil, want an error", expr)
		}
	}
}

func TestShortAndBlankValuesAreLeftAlone(t *testing.T) {
	s := set(t, "", "  ", "\r\n", `""`)
	if got, want := s.Mask("a  b\r\nc ' d"), "a  b\r\nc ' d"; got != want {
		t.Errorf("Mask with blank secrets = %q, want %q", got, want)
	}
	s = mask.NewSet(mask.MinLength(4))
	s.Add("abc", "defg")
	if got, want := s.Mask("abcdefg"), "abc***"; got != want {
		t.Errorf("Mask with a minimum of 4 = %q, want %q", got, want)
	}
}

func TestTextWithoutSecretsIsNotCopied(t *testing.T) {
	s := set(t, "hunter22")
	text := []byte("nothing to see")
	if got := s.MaskBytes(text); &got[0] != &text[0] {
		t.Error("MaskBytes copied text without secrets")
	}
	masked := []byte("a hunter22")
	if got := s.MaskBytes(masked); string(got) != "a ***" || string(masked) != "a hunter22" {
		t.Errorf("MaskBytes = %q and left %q", got, masked)
	}
	line := "nothing to see in this line"
	if n := testing.AllocsPerRun(100, func() { _ = s.Mask(line) }); n >= 1 {
		t.Errorf("Mask of a clean line allocates %v times, want 0", n)
	}
}

func TestTheWriterHoldsBackOnlyWhatMayBeginASecret(t *testing.T) {
	s := set(t, "hunter22")
	var out bytes.Buffer
	w := s.NewWriter(&out)
	steps := []struct{ write, want string }{
		{"hello h", "hello "},
		{"u", "hello "},
		{"m\n", "hello hum\n"},
		{"hunter2", "hello hum\n"},
		{"2", "hello hum\n***"},
		{"hunter22", "hello hum\n***"},
		{"!", "hello hum\n***!"},
		{"see http://host:80", "hello hum\n***!see http://host:"},
		{"\n", "hello hum\n***!see http://host:80\n"},
		{"hunter", "hello hum\n***!see http://host:80\n"},
	}
	for _, step := range steps {
		if n, err := io.WriteString(w, step.write); n != len(step.write) || err != nil {
			t.Fatalf("writing %q = %d, %v", step.write, n, err)
		}
		if got := out.String(); got != step.want {
			t.Fatalf("after writing %q the output is %q, want %q", step.write, got, step.want)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), steps[len(steps)-1].want+"hunter"; got != want {
		t.Errorf("after Close the output is %q, want %q", got, want)
	}
}

func TestASecretAddedLaterAppliesToWhatIsHeldBack(t *testing.T) {
	s := set(t, "alphabet")
	var out bytes.Buffer
	w := s.NewWriter(&out)
	write(t, w, "x alphab")
	s.Add("phab")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "x al***"; got != want {
		t.Errorf("a value added before Flush: %q, want %q", got, want)
	}

	out.Reset()
	write(t, w, "https://u:alp")
	s.Add("lpha", "another one")
	write(t, w, "ha@host alphabe")
	if err := s.AddPattern("be$"); err != nil {
		t.Fatal(err)
	}
	write(t, w, "\n")
	if got, want := out.String(), "https://u:***@host a***\n"; got != want {
		// The value hides "lpha", the pattern "be", and they touch.
		t.Errorf("values added between writes: %q, want %q", got, want)
	}
}

func TestAWriteErrorStaysAndIsReported(t *testing.T) {
	broken := errors.New("disk full")
	w := mask.NewSet().NewWriter(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := io.WriteString(w, "text"); !errors.Is(err, broken) {
		t.Errorf("Write = %v, want %v", err, broken)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("Close = %v, want %v", err, broken)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestASetIsSharedByManyStreams(t *testing.T) {
	s := mask.NewSet()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			secret := fmt.Sprintf("secret-number-%d", i)
			s.Add(secret)
			var out bytes.Buffer
			w := s.NewWriter(&out)
			for range 50 {
				write(t, w, "line with "+secret+" in it\n")
				if strings.Contains(s.Mask(secret), secret) {
					t.Errorf("Mask shows %q", secret)
				}
			}
			if err := w.Close(); err != nil || strings.Contains(out.String(), secret) {
				t.Errorf("the stream shows %q (%v)", secret, err)
			}
		})
	}
	wg.Wait()
}

func TestASecretDoesNotPrintItself(t *testing.T) {
	const value = "hunter22"
	type config struct {
		Token mask.Secret
		token mask.Secret // fmt prints the inside of this one
		all   []any
	}
	secret := mask.NewSecret(value)
	whole := config{secret, secret, []any{secret, &secret, map[mask.Secret]mask.Secret{secret: secret}}}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("settings", "token", secret, "config", whole)
	text := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
		text += fmt.Sprintf(verb+verb+verb, secret, &secret, whole)
	}
	encoded, err := json.Marshal(map[string]any{"a": secret, "b": &secret, "c": whole})
	if err != nil {
		t.Fatal(err)
	}
	text += string(encoded)
	for _, form := range append(mask.Forms(value), fmt.Sprintf("%x", value)) {
		if strings.Contains(text, form) {
			t.Errorf("%q was printed in %s", form, text)
		}
	}
	if got, want := secret.String()+secret.GoString()+secret.LogValue().String(), "*********"; got != want {
		t.Errorf("its strings are %q, want %q", got, want)
	}
	if empty := (mask.Secret{}); fmt.Sprint(empty) != "" || !empty.IsZero() || secret.IsZero() || secret.Reveal() != value || empty.Reveal() != "" {
		t.Error("the empty secret is not empty, or the other one is")
	}
	if !secret.Equal(mask.NewSecret(value)) || secret != mask.NewSecret(value) || secret.Equal(mask.NewSecret("other")) {
		t.Error("secrets do not compare by value")
	}
}

func TestASecretIsReadFromTheEnvironment(t *testing.T) {
	var config struct {
		Token mask.Secret `envconfig:"MASK_TEST_TOKEN" required:"true"`
		Other mask.Secret `envconfig:"MASK_TEST_OTHER"`
	}
	t.Setenv("MASK_TEST_TOKEN", "hunter22")
	if err := envconfig.Process("", &config); err != nil {
		t.Fatal(err)
	}
	if config.Token.Reveal() != "hunter22" || !config.Other.IsZero() {
		t.Errorf("read %q and %q, want hunter22 and nothing", config.Token.Reveal(), config.Other.Reveal())
	}
}

func write(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Errorf("writing %d bytes = %d, %v", len(text), n, err)
	}
}

// stream is text written to a new writer of s in pieces of size bytes.
func stream(t testing.TB, s *mask.Set, text string, size int) string {
	t.Helper()
	var out bytes.Buffer
	w := s.NewWriter(&out)
	for len(text) > 0 {
		n := min(size, len(text))
		if written, err := io.WriteString(w, text[:n]); written != n || err != nil {
			t.Fatalf("writing %d bytes = %d, %v", n, written, err)
		}
		text = text[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatalf("closing the writer: %v", err)
	}
	return out.String()
}

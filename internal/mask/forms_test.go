package mask_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/mask"
)

func TestASecretIsHiddenAsShellsShowIt(t *testing.T) {
	const all = "a b'c\"d$e\\f`g!h&i(j)k*l,m;n<o>p?q[r]s^t{u|v}w=~x:~y#z%ä"
	for name, test := range map[string]struct{ secret, script string }{
		"printf %q":                    {all, `printf '%q\n' "$secret"`},
		"printf %q, line breaks":       {"two\nlines 'of'\r\n\ttext\\ and\x01more\x1b\x7f", `printf '%q\n' "$secret"`},
		"printf %q, no UTF-8":          {"pässwörter", `LC_ALL=C; printf '%q\n' "$secret"`},
		"quoted again":                 {all, `printf '%s\n' "${secret@Q}"`},
		"quoted again, line breaks":    {"two\nlines 'of' text", `printf '%s\n' "${secret@Q}"`},
		"trace":                        {all, `set -x; : "$secret"`},
		"trace, line breaks":           {"two\nlines 'of' text", `set -x; : "$secret"`},
		"printf(1) %q, line breaks":    {"two\nlines 'of'\r\ntext", `env printf '%q\n' "$secret"`},
		"declare":                      {all, `declare -p secret`},
		"hex, one piece":               {all, `printf %s "$secret" | od -An -v -tx1 | tr -d ' \n'`},
		"hex, wrapped as xxd -p does":  {all, `printf %s "$secret" | od -An -v -tx1 | tr -d ' \n' | fold -w 60`},
		"hex, line break in the value": {"two\nlines", `printf %s "$secret" | od -An -v -tx1 | tr -d ' \n'`},
		"base64":                       {all, `printf %s "$secret" | base64`},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "bash", "-c", test.script)
			cmd.Env = []string{"secret=" + test.secret, "LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin"}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", test.script, err, out)
			}
			s := set(t, test.secret)
			got := stream(t, s, string(out), 1)
			if !strings.Contains(got, mask.Replacement) || len(got) > 40 {
				t.Errorf("%s prints %q, masked %q", test.script, out, got)
			}
		})
	}
}

func TestASecretIsHiddenAsOtherProgramsQuoteIt(t *testing.T) {
	tests := []struct{ name, secret, text, want string }{
		{"Python's shlex.quote", "it's me", `'it'"'"'s me'`, "'***'"},
		{"YAML and PowerShell", "it's me", `'it''s me'`, "'***'"},
		{"Compose", "pa$$w$rd", "pa$$$$w$$rd", "***"},
		{"hex in capitals", "hunter22", "68756E7465723232", "***"},
		{"hex within more hex", "hunter22", "0x0068756e746572323200", "0x00***00"},
		{"hex of a trimmed value", " hunter22\n", "68756e7465723232", "***"},
		{"hex of fewer than four bytes", "abc", "616263", "616263"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := stream(t, set(t, test.secret), test.text, 3); got != test.want {
				t.Errorf("%q is shown as %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func TestTheLinesOfASecretAreHiddenOnTheirOwn(t *testing.T) {
	key := pemKey()
	lines := strings.Split(strings.TrimSpace(key), "\n")
	inJSON := `{"type": "service_account", "private_key": "` + strings.ReplaceAll(key, "\n", `\n`) + `"}`
	tests := []struct{ name, secret, text, want string }{
		{"behind a time", "first line\nsecond line\n", "12:00 first line\n12:01 second line\n", "12:00 ***\n12:01 ***\n"},
		{"indented otherwise", "  first line\r\n\tsecond line", "first line|second line", "***|***"},
		{"a line of a key", key, "> " + lines[3] + " <", "> *** <"},
		{"the last line of a key", key, "> " + lines[len(lines)-2] + " <", "> *** <"},
		{"the boundaries of a key", key, lines[0] + "\n…\n" + lines[len(lines)-1] + "\n", lines[0] + "\n…\n" + lines[len(lines)-1] + "\n"},
		{"a key out of a JSON file", inJSON, "> " + lines[3] + " <", "> *** <"},
		{"a line in hex", "first line\nsecond line", "66697273 6669727374206c696e65", "66697273 ***"},
		{"a line in JSON", "say \"first\"\nsecond line", `"say \"first\""`, `"***"`},
		{"what gives a file its shape", "{\n  \"a\": 1\n}\nEOF\nusers:\n--------\nlong enough", "{ } EOF users: --------", "{ } EOF users: --------"},
		{"a line break behind a backslash alone", `C:\new\nice`, `ew ice`, `ew ice`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := stream(t, set(t, test.secret), test.text, 5); got != test.want {
				t.Errorf("%q is shown as %q, want %q", test.text, got, test.want)
			}
		})
	}
	if got := set(t, key).Mask("cat key\n" + key + "done"); got != "cat key\n***\ndone" {
		t.Errorf("the whole key is shown as %q", got)
	}
}

func TestAFormIsListedOnce(t *testing.T) {
	for _, value := range []string{awkward, "two\nlines of text", pemKey()} {
		forms := mask.Forms(value)
		if !slices.IsSorted(forms) || len(slices.Compact(slices.Clone(forms))) != len(forms) {
			t.Errorf("Forms(%.20q) is not sorted or has duplicates", value)
		}
		if slices.ContainsFunc(forms, func(f string) bool { return strings.TrimSpace(f) == "" }) {
			t.Errorf("Forms(%.20q) has a blank form", value)
		}
	}
}

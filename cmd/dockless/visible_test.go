package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
)

// hostile is what a peer might say: it names the window, rubs out its line, forges
// another, and turns the order of text around.
const hostile = "no\x1b]0;owned\a\x1b[2K\r\u009b2J\u202e\x7f\n  ok    forged    1 ms  all is well"

// obeyed are the parts of text that a terminal would not only show.
func obeyed(text string) []rune {
	return slices.DeleteFunc([]rune(text), func(r rune) bool {
		return r == '\n' || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r)
	})
}

func TestATerminalObeysNobodyThatDoctorAsks(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": "DENIED", "message": hostile}}})
		}
	}))
	defer registry.Close()
	for _, form := range []string{"table", "json"} {
		cmd := exec.CommandContext(t.Context(), "dockless", "doctor", "--only", "registry", "--output", form, "--registry", strings.TrimPrefix(registry.URL, "http://")+"/team/shop")
		cmd.Env = append(cmd.Environ(), "HOME="+t.TempDir())
		out, _ := cmd.Output() // the check fails
		text := string(out)
		if found := obeyed(text); len(found) > 0 || !strings.Contains(text, "no␛]0;owned␇") {
			t.Errorf("%s: a terminal obeys %q in\n%q", form, found, text)
		}
		if lines := strings.Count(text, "\n"); form == "table" && lines != 6 {
			t.Errorf("%d lines, want a heading, a row, its cause, its hint, nothing and the sum:\n%s", lines, text)
		}
	}
}

func TestEveryAnswerIsOneLineThatIsOnlyShown(t *testing.T) {
	for _, status := range []doctor.Status{doctor.OK, doctor.Warn, doctor.Fail, doctor.Skip} {
		r := told([]doctor.Result{{Status: status, Name: hostile, Detail: hostile, Hint: "wait\n" + hostile}})[0]
		if all := r.Name + r.Detail + r.Hint; len(obeyed(all)) > 0 || strings.Count(all, "\n") != 2 {
			t.Errorf("%s: a terminal obeys %q in %q", status, obeyed(all), all)
		}
	}
}

func TestATerminalObeysNoError(t *testing.T) {
	var got bytes.Buffer
	printError(&got, hint.With(errors.New("asking:\t"+hostile), "\x1b[8mdo not"))
	want := "error: asking: no␛]0;owned␇␛[2K␍\uFFFD2J\uFFFD␡; ok    forged    1 ms  all is well\nhint: ␛[8mdo not\n"
	if got.String() != want {
		t.Errorf("printed %q, want %q", got.String(), want)
	}
}

func FuzzVisible(f *testing.F) {
	f.Add(hostile)
	f.Add("a\xff\xfeb\tc")
	f.Fuzz(func(t *testing.T, text string) {
		got := visible(text)
		if strings.ContainsFunc(got, unicode.IsControl) || len(obeyed(got)) > 0 || !utf8.ValidString(got) {
			t.Errorf("visible(%q) = %q", text, got)
		}
		if utf8.RuneCountInString(got) != utf8.RuneCountInString(text) || visible(got) != got {
			t.Errorf("visible(%q) = %q, of another length or not at rest", text, got)
		}
	})
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console/consoletest"
	"github.com/dockless-ci/dockless/internal/hint"
)

func TestATerminalObeysNobodyThatDoctorAsks(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": "DENIED", "message": consoletest.Hostile}}})
		}
	}))
	defer registry.Close()
	for _, form := range []string{"table", "json"} {
		cmd := exec.CommandContext(t.Context(), "dockless", "doctor", "--only", "registry", "--output", form, "--registry", strings.TrimPrefix(registry.URL, "http://")+"/team/shop")
		cmd.Env = append(cmd.Environ(), "HOME="+t.TempDir())
		out, _ := cmd.Output() // the check fails
		text := string(out)
		if found := consoletest.Obeyed(text); len(found) > 0 || !strings.Contains(text, "no␛]0;owned␇") {
			t.Errorf("%s: a terminal obeys %q in\n%q", form, found, text)
		}
		if lines := strings.Count(text, "\n"); form == "table" && lines != 6 {
			t.Errorf("%d lines, want a heading, a row, its cause, its hint, nothing and the sum:\n%s", lines, text)
		}
	}
}

func TestATerminalObeysNoError(t *testing.T) {
	var got bytes.Buffer
	printError(&got, hint.With(errors.New("asking:\t"+consoletest.Hostile), "\x1b[8mdo not"))
	want := "error: asking: no␛]0;owned␇␛[2K␍\uFFFD2J\uFFFD␡; ok    forged    1 ms  all is well\nhint: ␛[8mdo not\n"
	if got.String() != want {
		t.Errorf("printed %q, want %q", got.String(), want)
	}
}
